//! Emits traces: spans, context propagation, sampling, and the Reporter port they leave through.
