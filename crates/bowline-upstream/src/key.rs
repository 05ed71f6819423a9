//! The key of a request, by which hashing strategies and breakers by key tell requests apart.

use bowline_balance::hash;
use bowline_model::policy::HashKey;
use http::{HeaderValue, header, request::Parts};

/// The hash of a request's key; `None` where it has none, or an empty one.
pub(crate) fn of(key: &HashKey, head: &Parts) -> Option<u64> {
    let bytes = match key {
        HashKey::Header(name) => head.headers.get(name.as_str()).map(HeaderValue::as_bytes)?,
        HashKey::Cookie(name) => cookie(name, head)?,
        HashKey::Query(name) => pairs(head.uri.query()?.as_bytes(), b'&', name)?,
        HashKey::Path => head.uri.path().as_bytes(),
    };
    (!bytes.is_empty()).then(|| hash(bytes))
}

fn cookie<'a>(name: &str, head: &'a Parts) -> Option<&'a [u8]> {
    head.headers.get_all(header::COOKIE).iter().find_map(|line| pairs(line.as_bytes(), b';', name))
}

/// The value of the first pair of that name, as it is written.
fn pairs<'a>(text: &'a [u8], separator: u8, name: &str) -> Option<&'a [u8]> {
    text.split(|byte| *byte == separator).find_map(|pair| {
        let pair = pair.trim_ascii();
        pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
    })
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn a_key_is_found_where_it_is_said_to_be() {
        let request = Request::get("http://h/basket/7?user=u1&user=u2&empty=")
            .header("x-user", "u3")
            .header("cookie", "a=1; session=s1")
            .header("cookie", "other=2; late=l1")
            .body(())
            .unwrap();
        let (head, ()) = request.into_parts();
        let cases = [
            ("header:x-user", Some("u3")),
            ("header:x-other", None),
            ("cookie:session", Some("s1")),
            ("cookie:late", Some("l1")),
            ("cookie:sess", None),
            ("query:user", Some("u1")),
            ("query:empty", None),
            ("query:use", None),
            ("path", Some("/basket/7")),
        ];
        for (key, expect) in cases {
            let found = of(&HashKey::parse(key).unwrap(), &head);
            assert_eq!(found, expect.map(|text| hash(text.as_bytes())), "{key}");
        }
    }
}
