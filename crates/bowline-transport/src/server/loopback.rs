//! Names that no page in a browser can make its own (DNS rebinding).

/// Whether `host[:port]` names the loopback, whoever resolves it: `localhost`, what is below it, and the addresses.
pub fn is_loopback_name(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    };
    let host = host.to_ascii_lowercase();
    if host == "localhost" || host.ends_with(".localhost") {
        return true;
    }
    let literal = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(&host);
    literal.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_loopback_are_local() {
        for yes in ["localhost", "LOCALHOST:7117", "127.0.0.1", "127.0.0.1:7117", "[::1]:80", "bowline.localhost:1"] {
            assert!(is_loopback_name(yes), "{yes}");
        }
        for no in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1:7117",
            "evil:80",
            "[::2]",
        ] {
            assert!(!is_loopback_name(no), "{no}");
        }
    }
}
