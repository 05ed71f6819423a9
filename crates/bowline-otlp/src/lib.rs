//! OTLP, in and out: takes spans from foreign SDKs, and passes ours on to foreign collectors.
