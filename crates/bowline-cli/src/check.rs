//! `bowline check`: proves a system, and holds it against what runs.

#[expect(dead_code, reason = "the command comes with what tells violations")]
mod observed;
