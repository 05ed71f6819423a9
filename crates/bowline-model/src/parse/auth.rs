//! The ways to tell who calls: `[auth.X]`, by signed token or by API key.

use std::{collections::BTreeSet, time::Duration};

use super::{
    references::{Names, Side},
    schema,
    table::Table,
    value::{LIST_MAX, Value, is_word, once},
    web,
};
use crate::{
    gateway::{
        API_KEY_HEADER_DEFAULT, ApiKey, ApiKeyPolicy, AuthKind, AuthProvider, JwtAlgorithm, JwtKeys, JwtPolicy,
        KeyHash, LEEWAY_DEFAULT, SecretSource,
    },
    name::ServiceName,
    units,
};

/// Clocks that are further apart have to be set, not borne with.
const LEEWAY_MAX: Duration = Duration::from_mins(5);

/// The longest issuer or audience, in bytes.
const CLAIM_LENGTH_MAX: usize = 1024;

/// The longest subject, in bytes: it goes into a header.
const SUBJECT_LENGTH_MAX: usize = 256;

/// The longest path of a file, in bytes.
const FILE_LENGTH_MAX: usize = 1024;

pub(super) fn read_all(entries: &[Value<'_>], services: &Names<'_>) -> Vec<AuthProvider> {
    entries.iter().filter_map(|entry| provider(*entry, services)).collect()
}

fn provider(entry: Value<'_>, services: &Names<'_>) -> Option<AuthProvider> {
    let name = entry.key_label();
    let table = entry.table(&schema::AUTH)?;
    let kind = match (table.get("jwt"), table.get("api_key")) {
        (Some(value), None) => jwt(value, services).map(AuthKind::Jwt),
        (None, Some(value)) => api_key(value).map(AuthKind::ApiKey),
        (Some(jwt_value), Some(value)) => {
            // Read all the same, so that all is told at once.
            jwt(jwt_value, services);
            api_key(value);
            value.fault_key(
                format!("{} has both `jwt` and `api_key`", entry.key_quoted()),
                "make two sections of it: a route names one",
            );
            None
        }
        (None, None) if table.has("jwt") || table.has("api_key") => None,
        (None, None) => {
            entry.fault_key(
                format!("{} has neither `jwt` nor `api_key`", entry.key_quoted()),
                "say how it tells who calls: `jwt = { … }` or `api_key = { … }`",
            );
            None
        }
    };
    let pass_credential = table.is_on("pass_credential");
    Some(AuthProvider { name: name?, kind: kind?, pass_credential })
}

// === signed tokens ===

fn jwt(value: Value<'_>, services: &Names<'_>) -> Option<JwtPolicy> {
    let table = value.table(&schema::JWT)?;
    let issuer = table.need("issuer").and_then(claim);
    let audience = table.need("audience").and_then(claim);
    let algorithms = table.need("algorithms").and_then(algorithms);
    let keys = keys(&table, algorithms.as_deref(), services);
    let leeway = table.get("leeway").and_then(leeway).unwrap_or(LEEWAY_DEFAULT);
    Some(JwtPolicy { issuer: issuer?, audience: audience?, algorithms: algorithms?, keys: keys?, leeway })
}

/// What a claim has to be.
fn claim(value: Value<'_>) -> Option<String> {
    value.parsed("the text of a claim", |text| {
        let is_plain = !text.is_empty() && text.trim() == text && !text.chars().any(char::is_control);
        if is_plain && text.len() <= CLAIM_LENGTH_MAX {
            Ok(text.to_owned())
        } else {
            Err("write 1 to 1024 characters as the token has them, without blanks around them")
        }
    })
}

fn algorithms(value: Value<'_>) -> Option<Vec<JwtAlgorithm>> {
    let values = value.list(LIST_MAX);
    if value.is_list() && values.is_empty() {
        return value.refuse("a jwt without algorithms", "name those that the issuer signs with: [\"EdDSA\"]");
    }
    let mut algorithms = Vec::new();
    let mut is_faulty = false;
    for element in values {
        let Some(algorithm) = element.choice(&JwtAlgorithm::NAMES, &[]) else {
            is_faulty = true;
            continue;
        };
        once(element, algorithm, &mut algorithms);
        if algorithms.len() > 1 && algorithms.contains(&JwtAlgorithm::Hs256) {
            return element.refuse(
                "`HS256` beside another algorithm",
                "keep one: with both, a public key could be taken for the shared secret",
            );
        }
    }
    (!is_faulty && !algorithms.is_empty()).then_some(algorithms)
}

/// `jwks`, or `secret` with HS256; `algorithms` is unknown where it is faulty itself.
fn keys(table: &Table<'_>, algorithms: Option<&[JwtAlgorithm]>, services: &Names<'_>) -> Option<JwtKeys> {
    let is_shared = algorithms.map(|algorithms| algorithms.contains(&JwtAlgorithm::Hs256));
    let read = (table.get("jwks"), table.get("secret"));
    let keys = read.0.and_then(|value| jwks(value, services));
    let secret = read.1.and_then(secret).map(JwtKeys::Secret);
    match (read, is_shared) {
        ((Some(_), Some(value)), None) => {
            value.fault_key("`secret` beside `jwks`", "keep `secret` for HS256, `jwks` for the others");
            None
        }
        ((Some(value), _), Some(true)) => {
            value.fault_key("`jwks` with HS256", "a shared secret is in no key set: write `secret = \"env:NAME\"`");
            None
        }
        ((_, Some(value)), Some(false)) => {
            value.fault_key("`secret` without HS256", "the other algorithms have public keys: write `jwks`");
            None
        }
        ((Some(_), None), _) => keys,
        ((None, Some(_)), _) => secret,
        ((None, None), Some(true)) => {
            table.need("secret");
            None
        }
        ((None, None), _) => {
            table.need("jwks");
            None
        }
    }
}

fn jwks(value: Value<'_>, services: &Names<'_>) -> Option<JwtKeys> {
    if value.is_text() {
        if web::has_password(value.text()?) {
            // Not told again.
            return value.refuse("`jwks` holds a password", "write the URL without what is before the @");
        }
        return value.parsed("where keys are", jwks_text);
    }
    let table = value.table(&schema::JWKS)?;
    let service = table.need("service").and_then(|value| {
        let name = value.text()?;
        services.check(name, value, Side::Value);
        ServiceName::new(name).ok()
    });
    let path = table.need("path").and_then(|value| value.parsed("a path", jwks_path));
    Some(JwtKeys::Service { service: service?, path: path? })
}

fn jwks_path(text: &str) -> Result<String, &'static str> {
    web::path(text, "begin it with a slash: \"/.well-known/jwks.json\"")
}

fn jwks_text(text: &str) -> Result<JwtKeys, &'static str> {
    if let Some(path) = text.strip_prefix("file:") {
        return file(path).map(JwtKeys::File);
    }
    if text.starts_with("https://") || text.starts_with("http://") {
        return web::url(text).map(JwtKeys::Url);
    }
    Err(
        "write \"https://…\", \"http://…\", \"file:PATH\", or { service = \"user\", path = \"/.well-known/jwks.json\" }",
    )
}

fn file(path: &str) -> Result<String, &'static str> {
    if path.trim().is_empty() || path.len() > FILE_LENGTH_MAX || path.chars().any(char::is_control) {
        return Err("write \"file:\" and a path of 1 to 1024 characters");
    }
    Ok(path.to_owned())
}

/// Where a secret is. What was written is not told again: it may be the secret itself.
fn secret(value: Value<'_>) -> Option<SecretSource> {
    let parsed = SecretSource::parse(value.text()?);
    let is_variable = |name: &str| name.len() <= FILE_LENGTH_MAX && is_word(name);
    match parsed {
        Ok(SecretSource::Env(name)) if !is_variable(&name) => value.refuse(
            "`secret` is not the name of a variable",
            "use letters, digits and _, no digit first: \"env:SHOP_JWT_SECRET\"",
        ),
        Ok(SecretSource::File(path)) => match file(&path) {
            Ok(path) => Some(SecretSource::File(path)),
            Err(rule) => value.refuse("`secret` is not the path of a file", rule),
        },
        Ok(source) => Some(source),
        Err(rule) => value.refuse("`secret` does not say where the secret is", rule),
    }
}

fn leeway(value: Value<'_>) -> Option<Duration> {
    let leeway = value.parsed("a duration", units::parse_duration)?;
    if leeway > LEEWAY_MAX {
        let (written, max) = (units::format_duration(leeway), units::format_duration(LEEWAY_MAX));
        return value.refuse(
            format!("`leeway` ({written}) is above {max}"),
            format!("write {max} or less, and set the clocks"),
        );
    }
    Some(leeway)
}

// === API keys ===

fn api_key(value: Value<'_>) -> Option<ApiKeyPolicy> {
    let table = value.table(&schema::API_KEY)?;
    let header = match table.get("header") {
        Some(value) => web::own_header(value),
        None => Some(API_KEY_HEADER_DEFAULT.to_owned()),
    };
    let keys = table.need("keys").and_then(api_keys);
    Some(ApiKeyPolicy { header: header?, keys: keys? })
}

fn api_keys(value: Value<'_>) -> Option<Vec<ApiKey>> {
    let values = value.list(LIST_MAX);
    if value.is_list() && values.is_empty() {
        return value.refuse("an api_key without keys", "make one with `bowline key new`, and write its hash here");
    }
    let mut hashes = BTreeSet::new();
    let keys: Vec<ApiKey> = values.into_iter().filter_map(|value| one_key(value, &mut hashes)).collect();
    (!keys.is_empty()).then_some(keys)
}

/// A subject may have several keys, so that a new one can be given out before the old one is taken away.
fn one_key(value: Value<'_>, hashes: &mut BTreeSet<KeyHash>) -> Option<ApiKey> {
    let table = value.table(&schema::API_KEY_ONE)?;
    let subject = table.need("subject").and_then(|value| value.parsed("a subject", subject));
    let hash = table.need("hash").and_then(|value| {
        let hash = hash(value)?;
        if !hashes.insert(hash) {
            return value.refuse("this key stands here twice", "make each with `bowline key new`");
        }
        Some(hash)
    });
    Some(ApiKey { subject: subject?, hash: hash? })
}

fn subject(text: &str) -> Result<String, &'static str> {
    if text.is_empty() || text.len() > SUBJECT_LENGTH_MAX {
        return Err("write 1 to 256 visible ASCII characters");
    }
    web::header_value(text)
}

/// What a key hashes to. What was written is not told again: it may be the key itself.
fn hash(value: Value<'_>) -> Option<KeyHash> {
    KeyHash::parse(value.text()?).map_or_else(
        |_| {
            value.refuse(
                "`hash` is not the hash of a key",
                "write \"sha256:\" and 64 hexadecimal digits, never the key: `bowline key new` makes both",
            )
        },
        Some,
    )
}
