//! The exchange's address as a key file gives it.

use std::net::Ipv4Addr;

/// The address in its one form: no slash and no `/v2` (which the original key files have) at the end. The error says what
/// it must be instead.
pub(crate) fn parse_endpoint(text: &str) -> Result<String, &'static str> {
    let mut base = text.trim_end_matches('/');
    while let Some(shorter) = base.strip_suffix("/v2") {
        base = shorter.trim_end_matches('/');
    }
    let (encrypted, rest) = match (base.strip_prefix("https://"), base.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return Err("must start with https://"),
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if !path
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"-._~/".contains(&b))
    {
        return Err("must be scheme, host, and if need be a port and a path; nothing else");
    }
    let (host, port) = match authority.strip_prefix("[::1]") {
        Some(port) => ("[::1]", port.strip_prefix(':').unwrap_or(port)),
        None => authority.split_once(':').unwrap_or((authority, "")),
    };
    let named = !host.is_empty()
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    let port_is_number = digits && (port.is_empty() || port.parse::<u16>().is_ok());
    if !(named || host == "[::1]") || !port_is_number {
        return Err("must be scheme, host, and if need be a port and a path; nothing else");
    }
    let loopback = host.eq_ignore_ascii_case("localhost")
        || host == "[::1]"
        || host.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback());
    if !encrypted && !loopback {
        return Err("must start with https://: the key would travel in the clear");
    }
    Ok(base.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_host_itself_is_spoken_to_in_the_clear() {
        for (given, expected) in [
            (
                "https://api-cloud.bitmart.com",
                Some("https://api-cloud.bitmart.com"),
            ),
            ("https://host/v2", Some("https://host")),
            (
                "https://host:8443/pre/fix//",
                Some("https://host:8443/pre/fix"),
            ),
            ("http://127.0.0.1:8080/v2/", Some("http://127.0.0.1:8080")),
            ("http://127.9.9.9", Some("http://127.9.9.9")),
            ("http://localhost:80", Some("http://localhost:80")),
            ("http://[::1]:8080", Some("http://[::1]:8080")),
            ("http://[::1]", Some("http://[::1]")),
            ("http://[::1]x", None),
            ("http://[::2]:8080", None),
            ("http://127.0.0.1.example.com", None),
            ("http://localhost.example.com", None),
            ("http://127.0.0.1@example.com", None),
            ("http://128.0.0.1", None),
            ("http://0x7f000001", None),
            ("https://user:pass@host", None),
            ("https://host?x", None),
            ("https://host/a?x", None),
            ("https://host/\r\nX: y", None),
            ("https://host:port", None),
            ("https://host:+80", None),
            ("https://host/v2/v2", Some("https://host")),
            ("https://host\\x", None),
            ("https://", None),
            ("https:///path", None),
            ("ftp://host", None),
            ("host", None),
            ("", None),
        ] {
            assert_eq!(parse_endpoint(given).ok().as_deref(), expected, "{given}");
        }
    }
}
