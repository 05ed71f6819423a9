//! `Communication(S)` as it was seen: the spans of many traces, folded into what the axioms are held against.
//!
//! [`observe`] reads the trace store page by page, newest first, and keeps of each trace only what a [`Folder`] adds
//! up. Who called is whom the callee's sidecar knows by the certificate (`bowline.caller`); where none says so, the
//! service of the parent span. What the gateway and the platform ask for is no edge of `Communication(S)`.

mod call;
mod fold;
mod read;
mod uses;

pub use fold::Folder;
pub use read::observe;
