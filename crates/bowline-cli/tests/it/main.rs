//! `bowline` as its users meet it: the real binary, real processes, real sockets.

mod bad_files;
mod crash;
mod harness;
mod shop;
mod system;
