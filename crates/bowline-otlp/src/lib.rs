//! OTLP, in and out: takes spans from foreign SDKs, and passes ours on to foreign collectors.

mod decode;
mod encode;
mod exporter;
mod receiver;
mod wire;

pub use decode::{DECODED_BYTES_MAX, Decoded, Refusal, from_json, from_protobuf};
pub use exporter::{Endpoint, ExportSettings, Exporter, InvalidEndpoint};
pub use receiver::{Admission, Admit, AnswerBody, MESSAGE_BYTES_MAX, Receiver, Refused, Settings, Sink};
pub use wire::Malformed;
