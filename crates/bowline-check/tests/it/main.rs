//! The rules' pages: their examples break and hold what they say, and are told as they show it.
#![expect(clippy::unwrap_used, reason = "what fails here is the report of a failed test")]

mod fixture;
mod page;
mod pages;
