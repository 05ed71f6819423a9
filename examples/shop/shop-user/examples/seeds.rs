//! Prints the credentials of the seeded users as a migration holds them, each with a salt of its own.
//!
//! `cargo run --release -p shop-user --example seeds -- 'correct horse'`

use argon2::{Argon2, PasswordHasher as _};
use aws_lc_rs::rand;

/// Users of the load program.
const LOAD_USERS: usize = 64;

#[expect(clippy::print_stdout, reason = "it is the program's answer")]
fn main() -> anyhow::Result<()> {
    let password = std::env::args().nth(1).ok_or_else(|| anyhow::anyhow!("give the password of all of them"))?;
    let named = [("ada@example.com".to_owned(), "u-1".to_owned()), ("bob@example.com".to_owned(), "u-2".to_owned())];
    let load = (0..LOAD_USERS).map(|number| (format!("load-{number}@example.com"), format!("u-load-{number}")));
    for (email, id) in named.into_iter().chain(load) {
        let mut salt = [0; 16];
        rand::fill(&mut salt)?;
        // The parameters that OWASP recommends are the crate's defaults: 19 MiB, 2 rounds, 1 lane.
        let hash = Argon2::default().hash_password_with_salt(password.as_bytes(), &salt)?;
        println!("    ('{email}', '{id}', '{hash}'),");
    }
    Ok(())
}
