//! Issuers of tokens, good and bad.

use std::sync::{Arc, Mutex, atomic::AtomicU64};

use aws_lc_rs::{
    encoding::AsDer as _,
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair},
};
use bowline_model::{
    ServiceName,
    gateway::{AuthKind, AuthProvider, JwtAlgorithm, JwtKeys, JwtPolicy},
};
use bowline_runtime::time;
use bowline_testkit::{Answer, HttpServer};
use jsonwebtoken::{Algorithm, EncodingKey, crypto::sign, jwk::Jwk};
use serde_json::{Value, json};

pub(crate) const ISSUER: &str = "https://shop.test";
pub(crate) const AUDIENCE: &str = "shop";

/// A key of an issuer.
pub(crate) struct Key {
    pub(crate) id: &'static str,
    algorithm: Algorithm,
    private: EncodingKey,
}

impl Key {
    pub(crate) fn ed(id: &'static str) -> Self {
        let der = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap();
        Self { id, algorithm: Algorithm::EdDSA, private: EncodingKey::from_ed_der(der.as_ref()) }
    }

    pub(crate) fn ec(id: &'static str) -> Self {
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        Self { id, algorithm: Algorithm::ES256, private: EncodingKey::from_ec_der(der.as_ref()) }
    }

    pub(crate) fn rsa(id: &'static str) -> Self {
        let der = KeyPair::generate(KeySize::Rsa2048).unwrap().as_der().unwrap();
        // What PKCS #8 wraps is the RSA key itself (PKCS #1), behind a head whose length is always the same.
        Self { id, algorithm: Algorithm::RS256, private: EncodingKey::from_rsa_der(&der.as_ref()[26..]) }
    }

    pub(crate) fn secret(id: &'static str, secret: &[u8]) -> Self {
        Self { id, algorithm: Algorithm::HS256, private: EncodingKey::from_secret(secret) }
    }

    /// The public half, as key sets have it.
    pub(crate) fn public(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.private, self.algorithm).unwrap();
        jwk.common.key_id = Some(self.id.to_owned());
        serde_json::to_value(jwk).unwrap()
    }

    /// A token that is good for the subject, for five minutes.
    pub(crate) fn token(&self, subject: &str) -> String {
        self.sign(&self.header(), &claims(subject))
    }

    pub(crate) fn header(&self) -> Value {
        json!({"typ": "JWT", "alg": format!("{:?}", self.algorithm), "kid": self.id})
    }

    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", base64(header.to_string().as_bytes()), base64(claims.to_string().as_bytes()));
        let signature = sign(message.as_bytes(), &self.private, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }
}

/// Seconds since 1970, with an offset.
pub(crate) fn at(offset: i64) -> i64 {
    i64::try_from(time::unix_millis_now() / 1000).unwrap() + offset
}

pub(crate) fn claims(subject: &str) -> Value {
    json!({"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "exp": at(300)})
}

/// As tokens have it: for URLs, without padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..=chunk.len() {
            text.push(char::from(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63]));
        }
    }
    text
}

/// A server of key sets, whose content and health the test decides.
pub(crate) struct KeyServer {
    pub(crate) server: HttpServer,
    answer: Arc<Mutex<Answer>>,
}

impl KeyServer {
    pub(crate) fn start(keys: &[&Key]) -> Self {
        let answer = Arc::new(Mutex::new(Self::set_of(keys)));
        let given = Arc::clone(&answer);
        let server = HttpServer::start(move |_| given.lock().unwrap().clone());
        Self { server, answer }
    }

    fn set_of(keys: &[&Key]) -> Answer {
        let keys: Vec<Value> = keys.iter().map(|key| key.public()).collect();
        Answer::Status(200, json!({"keys": keys}).to_string())
    }

    pub(crate) fn serve(&self, keys: &[&Key]) {
        self.answer_with(Self::set_of(keys));
    }

    pub(crate) fn answer_with(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    pub(crate) fn keys(&self) -> JwtKeys {
        JwtKeys::Url(format!("http://{}/jwks.json", self.server.addr()))
    }
}

/// The provider `customers`.
pub(crate) fn provider(algorithms: &[JwtAlgorithm], keys: JwtKeys) -> AuthProvider {
    AuthProvider {
        name: ServiceName::new("customers").unwrap(),
        kind: AuthKind::Jwt(JwtPolicy {
            issuer: ISSUER.to_owned(),
            audience: AUDIENCE.to_owned(),
            algorithms: algorithms.to_vec(),
            keys,
            leeway: time::Duration::from_secs(30),
        }),
        pass_credential: false,
    }
}

/// A file that is deleted with this.
pub(crate) struct TempFile(pub(crate) std::path::PathBuf);

impl TempFile {
    pub(crate) fn new(content: &[u8]) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("bowline-gateway-{}-{count}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        Self(path)
    }

    pub(crate) fn name(&self) -> String {
        self.0.to_str().unwrap().to_owned()
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}
