//! The client of tools.
