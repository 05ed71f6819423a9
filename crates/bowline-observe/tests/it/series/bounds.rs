//! The bounds hold.
