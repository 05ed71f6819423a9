//! A workload's certificate: asked for, rotated while connections live, verified.
//!
//! An [`Identity`] is a workload's current certificate and key, and the roots it believes. It asks an
//! [`Issuer`] for a certificate, asks anew at about half of its life, and hands out TLS configurations
//! that are made once and look at what is current whenever a connection is made. The private key is made
//! here and leaves the process in no form but [sealed](Admission::Join), for its own next start.
//!
//! Who may do what is decided elsewhere; here is only who is who.

mod certificate;
mod current;
mod error;
mod identity;
mod issuer;
mod key;
mod proof;
mod rest;
mod roots;
mod rotate;
mod token;
mod verify;

pub use certificate::{Validity, peer_id};
pub use error::Error;
pub use identity::{Admission, Identity, Settings};
pub use issuer::{Issued, Issuer, Proof, Request};
pub use key::Key;
pub use proof::{sign_renewal, verify_renewal};
pub use roots::Roots;
pub use token::{JoinToken, fingerprint};
