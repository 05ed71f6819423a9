//! OTLP, in and out: takes spans from foreign SDKs, and passes ours on to foreign collectors.

mod decode;

pub use decode::{DECODED_BYTES_MAX, Decoded, Malformed, Refusal, from_json, from_protobuf};
