//! Ways to tell who calls: tokens, keys, and what is never told again.

use super::check_all;

const AUTH: &str = r#"name = "t"
[service.user]
[auth.a]
$"#;
const JWT: &str = r#"name = "t"
[service.user]
[auth.a.jwt]
issuer = "i"
audience = "s"
$"#;
const JWKS: &str = r#"name = "t"
[service.user]
[auth.a.jwt]
issuer = "i"
audience = "s"
algorithms = ["EdDSA"]
$"#;
const SECRET: &str = r#"name = "t"
[service.user]
[auth.a.jwt]
issuer = "i"
audience = "s"
algorithms = ["HS256"]
secret = $"#;
const CLAIMS: &str = r#"name = "t"
[auth.a.jwt]
algorithms = ["EdDSA"]
jwks = "file:k"
$"#;
const API_KEY: &str = r#"name = "t"
[auth.a.api_key]
$"#;
const KEYS: &str = r#"name = "t"
[auth.a.api_key]
keys = [$]"#;

#[test]
fn sections() {
    check_all(
        AUTH,
        r#"
# neither
  3:7+1 `a` has neither `jwt` nor `api_key` → say how it tells who calls: `jwt = { … }` or `api_key = { … }`

api_key = { keys = [{ subject = "s", hash = "sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a" }] }
jwt = { issuer = "i", audience = "s", algorithms = ["EdDSA"], jwks = "file:k" }
  4:1+7 `a` has both `jwt` and `api_key` → make two sections of it: a route names one

api_key = { keys = [] }
jwt = { issuer = "i", audience = "s", algorithms = ["EdDSA"], jwks = 5 }
  4:1+7 `a` has both `jwt` and `api_key` → make two sections of it: a route names one
  4:20+2 an api_key without keys → make one with `bowline key new`, and write its hash here
  5:70+1 `jwks` is a whole number, not a table → write `jwks = { service = "user", path = "/.well-known/jwks.json" }`

jwtt = 5
  4:1+4 unknown key `jwtt` in an auth section → did you mean `jwt`?

api-key = 5
  4:1+7 unknown key `api-key` in an auth section → did you mean `api_key`?

jwt = 5
  4:7+1 `jwt` is a whole number, not a table → write `jwt = { issuer = "https://shop.example", audience = "shop", algorithms = ["EdDSA"], jwks = { service = "user", path = "/.well-known/jwks.json" } }`

api_key = "k"
  4:11+3 `api_key` is a string, not a table → write `[auth.partners.api_key]`

oidc = 1
  3:7+1 `a` has neither `jwt` nor `api_key` → say how it tells who calls: `jwt = { … }` or `api_key = { … }`
  4:1+4 unknown key `oidc` in an auth section → an auth section has: jwt, api_key, pass_credential

jwt = {}
pass_credential = "yes"
  4:7+2 a jwt has no `issuer` → write `issuer = "https://shop.example"`
  4:7+2 a jwt has no `audience` → write `audience = "shop"`
  4:7+2 a jwt has no `algorithms` → write `algorithms = ["EdDSA"]`
  4:7+2 a jwt has no `jwks` → write `jwks = { service = "user", path = "/.well-known/jwks.json" }`
  5:19+5 `pass_credential` is a string, not a boolean → write `pass_credential = true`

[auth.B]
jwt = {}
  3:7+1 `a` has neither `jwt` nor `api_key` → say how it tells who calls: `jwt = { … }` or `api_key = { … }`
  4:7+1 `B` is not a name → only a-z, 0-9 and - are allowed
  5:7+2 a jwt has no `issuer` → write `issuer = "https://shop.example"`
  5:7+2 a jwt has no `audience` → write `audience = "shop"`
  5:7+2 a jwt has no `algorithms` → write `algorithms = ["EdDSA"]`
  5:7+2 a jwt has no `jwks` → write `jwks = { service = "user", path = "/.well-known/jwks.json" }`

[auth]
a2 = 5
  3:7+1 `a` has neither `jwt` nor `api_key` → say how it tells who calls: `jwt = { … }` or `api_key = { … }`
  5:6+1 `a2` is a whole number, not a table → write `[auth.customers]`
"#,
    );
}

#[test]
fn tokens() {
    check_all(
        JWT,
        r#"
jwks = "file:k"
  3:1+12 a jwt has no `algorithms` → write `algorithms = ["EdDSA"]`

algorithms = []
jwks = "file:k"
  6:14+2 a jwt without algorithms → name those that the issuer signs with: ["EdDSA"]

algorithms = "EdDSA"
jwks = "file:k"
  6:14+7 `algorithms` is a string, not a list → write `algorithms = ["EdDSA"]`

algorithms = ["none"]
jwks = "file:k"
  6:15+6 `algorithms` ("none") is unknown → write one of "RS256", "ES256", "EdDSA", "HS256"

algorithms = ["eddsa", "RS512", 5]
jwks = "file:k"
  6:15+7 `algorithms` ("eddsa") is unknown → did you mean "EdDSA"?
  6:24+7 `algorithms` ("RS512") is unknown → write one of "RS256", "ES256", "EdDSA", "HS256"
  6:33+1 an element of `algorithms` is a whole number, not a string → write `algorithms = ["EdDSA"]`

algorithms = ["RS256", "RS256"]
jwks = "file:k"
  6:24+7 `algorithms` has this twice → remove one of them

algorithms = ["RS256", "HS256"]
jwks = "file:k"
  6:24+7 `HS256` beside another algorithm → keep one: with both, a public key could be taken for the shared secret

algorithms = ["HS256", "ES256"]
secret = "env:A"
  6:24+7 `HS256` beside another algorithm → keep one: with both, a public key could be taken for the shared secret

algorithms = ["HS256"]
  3:1+12 a jwt has no `secret` → write `secret = "env:SHOP_JWT_SECRET"`

algorithms = ["HS256"]
jwks = "file:k"
  7:1+4 `jwks` with HS256 → a shared secret is in no key set: write `secret = "env:NAME"`

algorithms = ["HS256"]
jwks = "file:k"
secret = "env:A"
  7:1+4 `jwks` with HS256 → a shared secret is in no key set: write `secret = "env:NAME"`

algorithms = ["RS256"]
  3:1+12 a jwt has no `jwks` → write `jwks = { service = "user", path = "/.well-known/jwks.json" }`

algorithms = ["RS256"]
secret = "env:A"
  7:1+6 `secret` without HS256 → the other algorithms have public keys: write `jwks`

algorithms = ["RS256"]
jwks = "file:k"
secret = "env:A"
  8:1+6 `secret` without HS256 → the other algorithms have public keys: write `jwks`

algorithms = ["x"]
jwks = "file:k"
secret = "env:A"
  6:15+3 `algorithms` ("x") is unknown → write one of "RS256", "ES256", "EdDSA", "HS256"
  8:1+6 `secret` beside `jwks` → keep `secret` for HS256, `jwks` for the others

algorithms = ["RS256"]
jwk = "file:k"
  7:1+3 unknown key `jwk` in a jwt → did you mean `jwks`?

algorithms = ["HS256"]
secrets = "env:A"
  7:1+7 unknown key `secrets` in a jwt → did you mean `secret`?
"#,
    );
}

#[test]
fn leeways() {
    check_all(
        JWT,
        r#"
algorithms = ["EdDSA"]
jwks = "file:k"
leeway = "6m"
  8:10+4 `leeway` (6m) is above 5m → write 5m or less, and set the clocks

algorithms = ["EdDSA"]
jwks = "file:k"
leeway = 30
  8:10+2 `leeway` is a whole number, not a string → write `leeway = "30s"`

algorithms = ["EdDSA"]
jwks = "file:k"
leeway = "5"
  8:10+3 `leeway` ("5") is not a duration → write a number with a unit: "250ms", "2s", "1h 30m"
"#,
    );
}

#[test]
fn key_sets() {
    check_all(
        JWKS,
        r#"
jwks = 5
  7:8+1 `jwks` is a whole number, not a table → write `jwks = { service = "user", path = "/.well-known/jwks.json" }`

jwks = "k.json"
  7:8+8 `jwks` ("k.json") is not where keys are → write "https://…", "http://…", "file:PATH", or { service = "user", path = "/.well-known/jwks.json" }

jwks = "ftp://a/k"
  7:8+11 `jwks` ("ftp://a/k") is not where keys are → write "https://…", "http://…", "file:PATH", or { service = "user", path = "/.well-known/jwks.json" }

jwks = "https://"
  7:8+10 `jwks` ("https://") is not where keys are → write a URL with a host: "https://host.example/path"

jwks = "https:///k"
  7:8+12 `jwks` ("https:///k") is not where keys are → write a URL with a host: "https://host.example/path"

jwks = "http://a b/k"
  7:8+14 `jwks` ("http://a b/k") is not where keys are → write at most 1024 visible ASCII characters without #, others percent-encoded

jwks = "https://me:pass@a/k"
  7:8+21 `jwks` holds a password → write the URL without what is before the @

jwks = "https://a:0/k"
  7:8+15 `jwks` ("https://a:0/k") is not where keys are → write a URL with a host: "https://host.example/path"

jwks = "https://a:x"
  7:8+13 `jwks` ("https://a:x") is not where keys are → write a URL with a host: "https://host.example/path"

jwks = "https://a/k#x"
  7:8+15 `jwks` ("https://a/k#x") is not where keys are → write at most 1024 visible ASCII characters without #, others percent-encoded

jwks = "file:"
  7:8+7 `jwks` ("file:") is not where keys are → write "file:" and a path of 1 to 1024 characters

jwks = { service = "usr", path = "/k" }
  7:20+5 unknown service `usr` → did you mean `user`?

jwks = { service = "zzz", path = "/k" }
  7:20+5 unknown service `zzz` → declare it with `[service.zzz]`

jwks = { service = "user" }
  7:8+20 a jwks has no `path` → write `path = "/.well-known/jwks.json"`

jwks = { path = "/k" }
  7:8+15 a jwks has no `service` → write `service = "user"`

jwks = { service = "user", path = "k" }
  7:35+3 `path` ("k") is not a path → begin it with a slash: "/.well-known/jwks.json"

jwks = { service = "user", path = "/a b" }
  7:35+6 `path` ("/a b") is not a path → write at most 1024 visible ASCII characters without #, others percent-encoded

jwks = { service = 5, path = 5 }
  7:20+1 `service` is a whole number, not a string → write `service = "user"`
  7:30+1 `path` is a whole number, not a string → write `path = "/.well-known/jwks.json"`

jwks = { url = "https://a" }
  7:8+21 a jwks has no `service` → write `service = "user"`
  7:8+21 a jwks has no `path` → write `path = "/.well-known/jwks.json"`
  7:10+3 unknown key `url` in a jwks → a jwks has: service, path
"#,
    );
}

#[test]
fn secrets_are_not_told_again() {
    check_all(
        SECRET,
        r#"
"hunter2hunter2"
  7:10+16 `secret` does not say where the secret is → a secret stands elsewhere: write "env:NAME" or "file:PATH"

"vault:hunter2"
  7:10+15 `secret` does not say where the secret is → a secret stands elsewhere: write "env:NAME" or "file:PATH"

"env:"
  7:10+6 `secret` does not say where the secret is → a secret stands elsewhere: write "env:NAME" or "file:PATH"

"env:9A"
  7:10+8 `secret` is not the name of a variable → use letters, digits and _, no digit first: "env:SHOP_JWT_SECRET"

"env:A=hunter2"
  7:10+15 `secret` is not the name of a variable → use letters, digits and _, no digit first: "env:SHOP_JWT_SECRET"

"file:"
  7:10+7 `secret` does not say where the secret is → a secret stands elsewhere: write "env:NAME" or "file:PATH"

"file:\n"
  7:10+9 `secret` is not the path of a file → write "file:" and a path of 1 to 1024 characters

5
  7:10+1 `secret` is a whole number, not a string → write `secret = "env:SHOP_JWT_SECRET"`
"#,
    );
}

#[test]
fn claims() {
    check_all(
        CLAIMS,
        r#"
# none
  2:1+12 a jwt has no `issuer` → write `issuer = "https://shop.example"`
  2:1+12 a jwt has no `audience` → write `audience = "shop"`

issuer = ""
audience = " s"
  5:10+2 `issuer` ("") is not the text of a claim → write 1 to 1024 characters as the token has them, without blanks around them
  6:12+4 `audience` (" s") is not the text of a claim → write 1 to 1024 characters as the token has them, without blanks around them

issuer = 5
audience = ["s"]
  5:10+1 `issuer` is a whole number, not a string → write `issuer = "https://shop.example"`
  6:12+5 `audience` is a list, not a string → write `audience = "shop"`
"#,
    );
}

#[test]
fn api_keys() {
    check_all(
        API_KEY,
        r#"
# no keys
  2:1+16 an api_key has no `keys` → write `keys = [{ subject = "acme", hash = "sha256:…" }]`

keys = []
  3:8+2 an api_key without keys → make one with `bowline key new`, and write its hash here

keys = [5]
  3:9+1 an element of `keys` is a whole number, not a table → write `keys = [{ subject = "acme", hash = "sha256:…" }]`

keys = "sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a"
  3:8+73 `keys` is a string, not a list → write `keys = [{ subject = "acme", hash = "sha256:…" }]`

header = "x key"
keys = [{ subject = "s", hash = "sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a" }]
  3:10+7 `x key` is not the name of a header → use letters, digits and -: `x-canary`

header = "Host"
keys = [{ subject = "s", hash = "sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a" }]
  3:10+6 the header `host` is the gateway's own → leave it to the gateway: remove it here

header = "x-bowline-key"
keys = [{ subject = "s", hash = "sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a" }]
  3:10+15 the header `x-bowline-key` is set by Bowline itself → use a name that does not begin with `x-bowline-`

header = "X-Bowline_Key"
keys = [{ subject = "s", hash = "sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a" }]
  3:10+15 the header `x-bowline_key` is set by Bowline itself → use a name that does not begin with `x-bowline-`

header = 5
keys = [{ subject = "s", hash = "sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a" }]
  3:10+1 `header` is a whole number, not a string → write `header = "x-api-key"`

key = 5
  3:1+3 unknown key `key` in an api_key → did you mean `keys`?
"#,
    );
}

#[test]
fn keys() {
    check_all(
        KEYS,
        r#"
{}
  3:9+2 a key has no `subject` → write `subject = "acme"`
  3:9+2 a key has no `hash` → write `hash = "sha256:…"`

{ subject = "", hash = "sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a" }
  3:21+2 `subject` ("") is not a subject → write 1 to 256 visible ASCII characters

{ subject = "é", hash = "sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a" }
  3:21+3 `subject` ("é") is not a subject → write visible ASCII characters without blanks around them

{ subject = 5, hash = 5 }
  3:21+1 `subject` is a whole number, not a string → write `subject = "acme"`
  3:31+1 `hash` is a whole number, not a string → write `hash = "sha256:…"`

{ subject = "s", hash = "bowline_s3cret" }
  3:33+16 `hash` is not the hash of a key → write "sha256:" and 64 hexadecimal digits, never the key: `bowline key new` makes both

{ subject = "s", hash = "sha256:0a" }
  3:33+11 `hash` is not the hash of a key → write "sha256:" and 64 hexadecimal digits, never the key: `bowline key new` makes both

{ subject = "s", hash = "md5:0a" }
  3:33+8 `hash` is not the hash of a key → write "sha256:" and 64 hexadecimal digits, never the key: `bowline key new` makes both

{ subject = "s", hash = "sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a" }, { subject = "s", hash = "sha256:0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b" }

{ subject = "s", hash = "sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a" }, { subject = "t", hash = "sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a" }
  3:134+73 this key stands here twice → make each with `bowline key new`

{ subject = "s", key = "sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a" }
  3:9+98 a key has no `hash` → write `hash = "sha256:…"`
  3:26+3 unknown key `key` in a key → a key has: subject, hash
"#,
    );
}
