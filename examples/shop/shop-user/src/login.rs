//! Signing in: an email address and a password for a token.

use std::time::Duration;

use bowline::{
    Code, HandlerError,
    runtime::{metric::Registry, rand},
};
use jsonwebtoken::{Algorithm, Header, encode};
use serde::{Deserialize, Serialize};

use crate::{
    keys::{Keys, Signer},
    password::Passwords,
    repository::{KeyRepository, UserRepository},
};

/// How long a token is good for.
pub(crate) const TOKEN_LIFETIME: Duration = Duration::from_hours(1);

/// Who issues the tokens: what `[auth.customers]` in `bowline.toml` demands.
const ISSUER: &str = "https://shop.localhost";

/// Whom the tokens are for: what `[auth.customers]` demands.
const AUDIENCE: &str = "shop";

/// The longest email address (RFC 5321, with the angle brackets taken away).
pub(crate) const EMAIL_BYTES_MAX: usize = 254;

/// The longest password that is hashed.
pub(crate) const PASSWORD_BYTES_MAX: usize = 1024;

/// What is signed in with. Without `Debug`: it holds a password.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Credentials {
    pub(crate) email: String,
    pub(crate) password: String,
}

/// What one gets for it (the words of RFC 6749, 5.1). Without `Debug`: whoever has it is let in.
#[derive(Serialize)]
pub(crate) struct Granted {
    pub(crate) access_token: String,
    pub(crate) token_type: &'static str,
    /// In seconds.
    pub(crate) expires_in: u64,
}

/// What a token says (RFC 7519, 4.1); times in seconds since 1970.
#[derive(Debug, Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    iat: u64,
    nbf: u64,
    exp: u64,
    jti: String,
}

/// Signs users in.
#[derive(Debug)]
pub(crate) struct LoginService<R> {
    repository: R,
    passwords: Passwords,
}

impl<R: UserRepository + KeyRepository> LoginService<R> {
    pub(crate) fn new(repository: R, metrics: &Registry) -> Self {
        Self { repository, passwords: Passwords::new(metrics) }
    }

    pub(crate) fn repository(&self) -> &R {
        &self.repository
    }

    pub(crate) fn passwords(&self) -> &Passwords {
        &self.passwords
    }

    pub(crate) fn keys(&self) -> Keys<'_, R> {
        Keys(&self.repository)
    }

    /// A token for who knows the password.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`] alike for an unknown email address and a wrong password;
    /// [`Code::Unprocessable`] for what can be neither; [`Code::Unavailable`] when too many sign in.
    pub(crate) async fn login(&self, credentials: Credentials, now_ms: u64) -> Result<Granted, HandlerError> {
        let Credentials { email, password } = credentials;
        let refuse = |detail: String| Err(HandlerError::new(Code::Unprocessable, detail));
        if email.is_empty() || email.len() > EMAIL_BYTES_MAX {
            return refuse(format!("email: 1 to {EMAIL_BYTES_MAX} bytes"));
        }
        if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
            return refuse(format!("password: 1 to {PASSWORD_BYTES_MAX} bytes"));
        }
        let account = self.repository.account(&email).await?;
        let (user_id, hash) = account.map(|account| (account.user_id, account.password_hash)).unzip();
        let is_right = self.passwords.is_right(password, hash).await?;
        match user_id {
            Some(user_id) if is_right => self.issue(&user_id, now_ms).await,
            _ => Err(HandlerError::new(Code::Unauthenticated, "email or password is wrong")),
        }
    }

    async fn issue(&self, user_id: &str, now_ms: u64) -> Result<Granted, HandlerError> {
        let Signer { key_id, key } = self.keys().signer(now_ms).await?;
        let (now, expires_in) = (now_ms / 1000, TOKEN_LIFETIME.as_secs());
        let claims = Claims {
            iss: ISSUER,
            aud: AUDIENCE,
            sub: user_id,
            iat: now,
            nbf: now,
            exp: now + expires_in,
            jti: format!("{:032x}", rand::u128()),
        };
        let header = Header { kid: Some(key_id), ..Header::new(Algorithm::EdDSA) };
        let access_token = encode(&header, &claims, &key).map_err(HandlerError::internal)?;
        Ok(Granted { access_token, token_type: "Bearer", expires_in })
    }
}

#[cfg(test)]
mod tests {
    use bowline::runtime::time;
    use example_sql::{Db, on_both, testing::Fixture};
    use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
    use serde_json::Value;

    use super::*;
    use crate::repository::{MIGRATIONS, SqlUsers};

    on_both!(
        who_knows_the_password_gets_a_token_that_says_who_it_is,
        a_wrong_password_and_an_unknown_email_are_answered_alike,
        what_can_be_no_credential_is_refused_before_it_is_hashed,
        a_token_outlives_the_change_of_the_key,
    );

    async fn service<DB: Db>(fixture: &Fixture<DB>) -> LoginService<SqlUsers<DB>> {
        let users = SqlUsers::new(fixture.open(MIGRATIONS.of::<DB>()).await.with_messages().await.unwrap());
        let logins = LoginService::new(users, &Registry::default());
        logins.keys().rotate(time::unix_millis_now()).await.unwrap();
        logins
    }

    async fn login<DB: Db>(
        logins: &LoginService<SqlUsers<DB>>,
        email: &str,
        password: &str,
    ) -> Result<Granted, HandlerError> {
        let credentials = Credentials { email: email.to_owned(), password: password.to_owned() };
        logins.login(credentials, time::unix_millis_now()).await
    }

    /// Reads a token as a verifier does that has the published key set.
    async fn verify<DB: Db>(logins: &LoginService<SqlUsers<DB>>, token: &str) -> Value {
        let key_id = decode_header(token).unwrap().kid.unwrap();
        let set = logins.keys().key_set().await.unwrap();
        let key = DecodingKey::from_jwk(set.find(&key_id).unwrap()).unwrap();
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&["shop"]);
        validation.set_issuer(&["https://shop.localhost"]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        decode::<Value>(token, &key, &validation).unwrap().claims
    }

    async fn who_knows_the_password_gets_a_token_that_says_who_it_is<DB: Db>(fixture: Fixture<DB>) {
        let logins = service(&fixture).await;
        let mut seen = Vec::new();
        for (email, subject) in [
            ("ada@example.com", "u-1"),
            ("ADA@example.com", "u-1"),
            ("bob@example.com", "u-2"),
            ("load-63@example.com", "u-load-63"),
        ] {
            let token = login(&logins, email, "correct horse").await.unwrap();
            assert_eq!((token.token_type, token.expires_in), ("Bearer", 3600));
            let claims = verify(&logins, &token.access_token).await;
            assert_eq!(claims["sub"], subject);
            assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 3600);
            seen.push(claims["jti"].as_str().unwrap().to_owned());
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 4, "each token has a name of its own");
    }

    async fn a_wrong_password_and_an_unknown_email_are_answered_alike<DB: Db>(fixture: Fixture<DB>) {
        let logins = service(&fixture).await;
        let wrong = login(&logins, "ada@example.com", "wrong horse").await.err().unwrap();
        let unknown = login(&logins, "eve@example.com", "correct horse").await.err().unwrap();
        assert_eq!((wrong.code(), &wrong), (Code::Unauthenticated, &unknown));
    }

    async fn what_can_be_no_credential_is_refused_before_it_is_hashed<DB: Db>(fixture: Fixture<DB>) {
        let logins = service(&fixture).await;
        let (long_email, long_password) = ("x".repeat(255), "x".repeat(1025));
        for (email, password, field) in [
            ("", "x", "email"),
            (&*long_email, "x", "email"),
            ("ada@example.com", "", "password"),
            ("ada@example.com", &*long_password, "password"),
        ] {
            let error = login(&logins, email, password).await.err().unwrap();
            assert_eq!(error.code(), Code::Unprocessable);
            assert!(error.to_string().starts_with(field), "{error}");
        }
    }

    async fn a_token_outlives_the_change_of_the_key<DB: Db>(fixture: Fixture<DB>) {
        let logins = service(&fixture).await;
        let token = login(&logins, "ada@example.com", "correct horse").await.unwrap().access_token;
        let month_ms = 31 * 24 * 3600 * 1000;
        logins.keys().rotate(time::unix_millis_now() + month_ms).await.unwrap();
        assert_eq!(logins.keys().key_set().await.unwrap().keys.len(), 2);
        assert_eq!(verify(&logins, &token).await["sub"], "u-1");
    }
}
