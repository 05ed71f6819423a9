//! How long reading and proving 2,000 services takes: seconds of each round, for `cargo xtask bench check`.

#![expect(clippy::print_stdout, reason = "who starts it reads the figures")]
#![expect(clippy::disallowed_methods, reason = "this crate is below the one that has the clock")]

use std::{hint::black_box, time::Instant};

use bowline_model::{
    check::{Facts, check},
    parse,
};

#[path = "../tests/it/generated.rs"]
mod generated;

const ROUNDS: usize = 11;

fn main() {
    let (text, facts) = (generated::text(), Facts::default());
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let (system, _) = parse::declared(black_box(&text), None).expect("it is understood");
        let violations = black_box(check(&system, &facts));
        let took = began.elapsed();
        assert!(violations.is_empty(), "it is proved: {violations:?}");
        println!("{}", took.as_secs_f64());
    }
}
