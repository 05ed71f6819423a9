//! Who a customer is: registered, and changed; both are told to whom it concerns.

use bowline::{Code, HandlerError, Topic, extract::Subject, runtime::rand};
use example_sql::Db;
use serde::{Deserialize, Serialize};

use crate::{
    login::{EMAIL_BYTES_MAX, PASSWORD_BYTES_MAX},
    password::Passwords,
    repository::{Registered, SqlUsers, User},
};

/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 200;

/// The longest reference of a card, in bytes: what payment takes.
const CARD_BYTES_MAX: usize = 64;

/// The shortest password of a new customer, in bytes.
const PASSWORD_BYTES_MIN: usize = 8;

/// A customer to be. Without `Debug`: it holds a password.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewUser {
    pub(crate) email: String,
    pub(crate) password: String,
    pub(crate) name: String,
    pub(crate) card: String,
}

/// What a customer changes of itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Changes {
    pub(crate) name: String,
    pub(crate) card: String,
}

/// What is told of a customer: neither the card nor the email address is everybody's business.
#[derive(Debug, Serialize)]
struct Told<'a> {
    user_id: &'a str,
    name: &'a str,
}

/// Keeps customers, and tells of them.
#[derive(Debug)]
pub(crate) struct ProfileService<DB: Db> {
    pub(crate) repository: SqlUsers<DB>,
    pub(crate) registered: Topic,
    pub(crate) changed: Topic,
}

impl<DB: Db> ProfileService<DB> {
    /// Registers a customer.
    ///
    /// # Errors
    /// [`Code::Conflict`] for an email address that somebody has; [`Code::Unprocessable`] for what cannot be.
    pub(crate) async fn register(&self, new: NewUser, passwords: &Passwords) -> Result<User, HandlerError> {
        let NewUser { email, password, name, card } = new;
        check("email", &email, 3, EMAIL_BYTES_MAX)?;
        if !email.contains('@') || email.contains(char::is_whitespace) {
            return Err(HandlerError::new(Code::Unprocessable, "email: an address with an @"));
        }
        check("password", &password, PASSWORD_BYTES_MIN, PASSWORD_BYTES_MAX)?;
        let user = User { id: format!("u-{:032x}", rand::u128()), name, card };
        check_profile(&user)?;
        let password_hash = passwords.hash(password).await?;
        let told = self.registered.message(&Told { user_id: &user.id, name: &user.name }).key(&user.id);
        let told = told.into_message().map_err(HandlerError::internal)?;
        let registered = self.repository.register(&user, &email, &password_hash, (self.registered.name(), told)).await;
        match registered? {
            Registered::Now => Ok(user),
            Registered::Taken => Err(HandlerError::new(Code::Conflict, "email: somebody has signed up with it")),
        }
    }

    /// Changes a customer, who does it itself.
    pub(crate) async fn change(&self, subject: &Subject, id: &str, changes: Changes) -> Result<User, HandlerError> {
        if id != subject.as_str() {
            return Err(HandlerError::new(Code::PermissionDenied, "a profile is changed by whose it is"));
        }
        let Changes { name, card } = changes;
        let user = User { id: id.to_owned(), name, card };
        check_profile(&user)?;
        let told = self.changed.message(&Told { user_id: id, name: &user.name }).key(id);
        let told = told.into_message().map_err(HandlerError::internal)?;
        let changed = self.repository.change(&user, (self.changed.name(), told)).await;
        if changed? {
            return Ok(user);
        }
        Err(HandlerError::new(Code::NotFound, format!("no user `{id}`")))
    }
}

fn check_profile(user: &User) -> Result<(), HandlerError> {
    check("name", &user.name, 1, NAME_BYTES_MAX)?;
    check("card", &user.card, 1, CARD_BYTES_MAX)
}

fn check(field: &str, text: &str, min: usize, max: usize) -> Result<(), HandlerError> {
    if (min..=max).contains(&text.len()) && !text.contains(char::is_control) {
        return Ok(());
    }
    Err(HandlerError::new(Code::Unprocessable, format!("{field}: {min} to {max} bytes, no control characters")))
}

#[cfg(test)]
mod tests {
    use bowline::{Microservice, Settings, runtime::metric::Registry};
    use example_sql::{on_both, testing::Fixture};

    use super::*;
    use crate::repository::{MIGRATIONS, UserRepository as _};

    on_both!(who_registers_is_told_of_once_and_can_sign_in, what_can_be_no_customer_is_refused_by_name);

    async fn profiles<DB: Db>(fixture: &Fixture<DB>) -> ProfileService<DB> {
        let repository = SqlUsers::new(fixture.open(MIGRATIONS.of::<DB>()).await.with_messages().await.unwrap());
        let service = Microservice::new(Settings::from_vars("user", []).unwrap());
        let [registered, changed] = ["user.registered", "user.changed"].map(|name| service.topic(name));
        ProfileService { repository, registered, changed }
    }

    fn new(email: &str) -> NewUser {
        let [password, name, card] = ["correct horse", "Grace", "card-4242"].map(str::to_owned);
        NewUser { email: email.to_owned(), password, name, card }
    }

    async fn who_registers_is_told_of_once_and_can_sign_in<DB: Db>(fixture: Fixture<DB>) {
        let (profiles, passwords) = (profiles(&fixture).await, Passwords::new(&Registry::default()));
        let user = profiles.register(new("grace@example.com"), &passwords).await.unwrap();
        let again = profiles.register(new("Grace@example.com"), &passwords).await.unwrap_err();
        assert_eq!(again.code(), Code::Conflict);
        let account = profiles.repository.account("grace@example.com").await.unwrap().unwrap();
        assert_eq!(account.user_id, user.id);
        assert!(passwords.is_right("correct horse".to_owned(), Some(account.password_hash)).await.unwrap());
        assert_eq!(profiles.repository.told().await, [("user.registered".to_owned(), user.id.clone())]);

        let subject = Subject::new(&user.id).unwrap();
        let changes = Changes { name: "Grace H.".to_owned(), card: "card-0002".to_owned() };
        profiles.change(&subject, &user.id, changes.clone()).await.unwrap();
        assert_eq!(profiles.repository.find(&user.id).await.unwrap().unwrap().card, "card-0002");
        assert_eq!(profiles.repository.told().await.len(), 2);
        let denied = profiles.change(&subject, "u-1", changes.clone()).await.unwrap_err();
        assert_eq!(denied.code(), Code::PermissionDenied);
        let nobody = Subject::new("u-none").unwrap();
        assert_eq!(profiles.change(&nobody, "u-none", changes).await.unwrap_err().code(), Code::NotFound);
        assert_eq!(profiles.repository.told().await.len(), 2, "what did not happen is not told");
    }

    async fn what_can_be_no_customer_is_refused_by_name<DB: Db>(fixture: Fixture<DB>) {
        let (profiles, passwords) = (profiles(&fixture).await, Passwords::new(&Registry::default()));
        let good = || new("grace@example.com");
        for (bad, field) in [
            (NewUser { email: "grace".to_owned(), ..good() }, "email"),
            (NewUser { email: "a b@c".to_owned(), ..good() }, "email"),
            (NewUser { password: "short".to_owned(), ..good() }, "password"),
            (NewUser { name: String::new(), ..good() }, "name"),
            (NewUser { card: "x".repeat(65), ..good() }, "card"),
            (NewUser { name: "a\nb".to_owned(), ..good() }, "name"),
        ] {
            let error = profiles.register(bad, &passwords).await.unwrap_err();
            assert_eq!(error.code(), Code::Unprocessable);
            assert!(error.to_string().starts_with(field), "{error}");
        }
    }
}
