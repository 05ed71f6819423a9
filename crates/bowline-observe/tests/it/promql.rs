//! The query language: cases in a small language of their own, limits, and texts and data that nobody thought of.

mod arbitrary;
mod cases;
mod limits;
mod memory;
mod parse;
mod script;
