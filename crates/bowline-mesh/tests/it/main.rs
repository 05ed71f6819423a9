//! The mesh through its public interface.

mod control;
mod support;
