//! Who orders: the seeded users of the load program, signed in.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use bowline_runtime::{
    task::JoinSet,
    time::{self, Instant},
};
use example_load::{Host, Request, rewrite};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use tokio::sync::Mutex;

/// The users that the shop seeds for this program.
pub(crate) const SEEDED: u16 = 64;

/// Their password, which is no secret: it is in the shop's README.
pub(crate) const PASSWORD: &str = "correct horse";

/// How many sign in at once.
const AT_ONCE: usize = 8;

/// How often one tries to sign in before this gives up.
const ATTEMPTS_MAX: u32 = 20;

/// How long one waits who was told that there are too many.
const PAUSE: Duration = Duration::from_secs(1);

/// A token is replaced so long before its end.
const REPLACED_BEFORE: Duration = Duration::from_mins(1);

/// The users that order in turn.
#[derive(Debug)]
pub(crate) struct Customers {
    customers: Vec<Arc<Customer>>,
    next: AtomicUsize,
}

/// One user of the shop.
pub(crate) struct Customer {
    pub(crate) id: String,
    shop: Host,
    email: String,
    token: Mutex<Token>,
}

impl fmt::Debug for Customer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Customer").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What lets a customer in, and how long.
struct Token {
    authorization: HeaderValue,
    good_until: Instant,
}

/// The answer to a login.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: u64,
}

impl Customers {
    /// Signs in so many of the seeded users.
    pub(crate) async fn sign_in(shop: &Host, count: u16) -> anyhow::Result<Self> {
        let (mut waiting, mut signing_in) = (0..count, JoinSet::new());
        let mut customers = Vec::new();
        loop {
            while signing_in.len() < AT_ONCE
                && let Some(number) = waiting.next()
            {
                signing_in.spawn(Customer::sign_in(shop.clone(), number));
            }
            let Some(customer) = signing_in.join_next().await else { break };
            customers.push(Arc::new(customer.context("signing in panicked")??));
            rewrite("signed in", customers.len(), usize::from(count));
        }
        Ok(Self { customers, next: AtomicUsize::new(0) })
    }

    /// Whose turn it is.
    pub(crate) fn next(&self) -> Arc<Customer> {
        let turn = self.next.fetch_add(1, Relaxed);
        self.customers[turn % self.customers.len()].clone()
    }
}

impl Customer {
    async fn sign_in(shop: Host, number: u16) -> anyhow::Result<Self> {
        let email = format!("load-{number}@example.com");
        let token = Mutex::new(login(&shop, &email, PAUSE).await?);
        Ok(Self { id: format!("u-load-{number}"), shop, email, token })
    }

    /// A request in this customer's name, under a token that is good for a while.
    pub(crate) async fn sign(&self, mut request: Request) -> anyhow::Result<Request> {
        let mut token = self.token.lock().await;
        if time::now() + REPLACED_BEFORE >= token.good_until {
            *token = login(&self.shop, &self.email, PAUSE).await?;
        }
        request.headers_mut().insert(header::AUTHORIZATION, token.authorization.clone());
        Ok(request)
    }
}

async fn login(shop: &Host, email: &str, pause: Duration) -> anyhow::Result<Token> {
    let mut connection = shop.connect();
    for _ in 0..ATTEMPTS_MAX {
        let body = serde_json::json!({"email": email, "password": PASSWORD});
        let begun = time::now();
        let (status, answer) = connection.send(shop.post("/login", &body)).await?;
        match status {
            StatusCode::OK => return token(&answer, begun),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => time::sleep(pause).await,
            status => bail!("{email} cannot sign in: {status}"),
        }
    }
    bail!("{email} cannot sign in: the shop is busy, asked {ATTEMPTS_MAX} times")
}

fn token(answer: &[u8], begun: Instant) -> anyhow::Result<Token> {
    // Without the cause's text, which may quote the answer.
    let Ok(Granted { access_token, expires_in }) = serde_json::from_slice(answer) else {
        bail!("the answer to a login cannot be read")
    };
    let Ok(mut authorization) = HeaderValue::try_from(format!("Bearer {access_token}")) else {
        bail!("the token is no header's value")
    };
    authorization.set_sensitive(true);
    Ok(Token { authorization, good_until: begun + Duration::from_secs(expires_in.min(86_400)) })
}

#[cfg(test)]
mod tests {
    use bowline_runtime::task;
    use bowline_testkit::{Answer, HttpServer};

    use super::*;
    use crate::SHOP;

    /// A shop that refuses the first so many logins as too many.
    fn shop(refused: usize) -> HttpServer {
        let asked = AtomicUsize::new(0);
        HttpServer::start(move |_| match asked.fetch_add(1, Relaxed) {
            number if number < refused => Answer::Status(429, "{}".to_owned()),
            number => Answer::Status(200, format!(r#"{{"access_token":"t{number}","expires_in":3600}}"#)),
        })
    }

    fn host(shop: &HttpServer) -> Host {
        Host::new(shop.addr(), SHOP)
    }

    async fn authorization(customer: &Customer) -> String {
        let request = customer.sign(customer.shop.get("/")).await.unwrap();
        let value = &request.headers()[header::AUTHORIZATION];
        assert!(value.is_sensitive());
        value.to_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn all_sign_in_and_take_turns() {
        let shop = shop(0);
        let customers = Customers::sign_in(&host(&shop), SEEDED).await.unwrap();
        assert_eq!(shop.requests().len(), 64);
        let mut ids: Vec<_> = (0..64).map(|_| customers.next().id.clone()).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 64);
        // A good token is used again.
        let customer = customers.next();
        let first = authorization(&customer).await;
        assert!(first.starts_with("Bearer t"), "{first}");
        assert_eq!(authorization(&customer).await, first);
        assert!(!format!("{customers:?}").contains(&first));
    }

    #[tokio::test]
    async fn a_token_near_its_end_is_replaced_once() {
        let shop = shop(0);
        let customer = Arc::new(Customer::sign_in(host(&shop), 7).await.unwrap());
        customer.token.lock().await.good_until = time::now() + REPLACED_BEFORE / 2;
        // Those who come while it is replaced wait for the new one.
        let signing = (0..4).map(|_| {
            let customer = customer.clone();
            task::spawn(async move { authorization(&customer).await })
        });
        for signed in signing.collect::<Vec<_>>() {
            assert_eq!(signed.await.unwrap(), "Bearer t1");
        }
        let requests = shop.requests();
        assert_eq!(requests.len(), 2);
        let body: serde_json::Value = serde_json::from_slice(&requests[1].body).unwrap();
        assert_eq!(body, serde_json::json!({"email": "load-7@example.com", "password": "correct horse"}));
    }

    #[tokio::test]
    async fn who_is_told_that_there_are_too_many_asks_again() {
        let shop = shop(3);
        login(&host(&shop), "load-0@example.com", Duration::ZERO).await.unwrap();
        assert_eq!(shop.requests().len(), 4);
        let shop = HttpServer::start(|_| Answer::status(503));
        let error = login(&host(&shop), "load-0@example.com", Duration::ZERO).await.err().unwrap();
        assert!(error.to_string().contains("busy"), "{error}");
    }

    #[tokio::test]
    async fn a_login_that_is_refused_ends_the_program() {
        let shop = HttpServer::start(|_| Answer::status(401));
        let error = Customers::sign_in(&host(&shop), 1).await.unwrap_err();
        assert!(error.to_string().contains("load-0@example.com") && error.to_string().contains("401"), "{error}");
        let shop = HttpServer::start(|_| Answer::Status(200, r#"{"access_token": 7, "secret": "x"}"#.to_owned()));
        let error = Customers::sign_in(&host(&shop), 1).await.unwrap_err();
        assert_eq!(format!("{error:#}"), "the answer to a login cannot be read");
    }
}
