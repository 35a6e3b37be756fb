//! Where the listener listens: `ws://ADDRESS:PORT/PATH`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

/// A `ws://` address with an IP or `localhost`, a port (0 takes any free one) and a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    ip: IpAddr,
    port: u16,
    path: String,
}

/// Why a text is not an [`Endpoint`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndpointError {
    /// It does not start with `ws://`. A proxy may offer `wss://` to the signer; the listener itself has no TLS.
    Scheme,
    /// The host is neither an IP address nor `localhost`. Names are not resolved to listen on them.
    Host,
    /// No port, or not a number up to 65535.
    Port,
    /// Not a plain path: it has a query, a fragment, or characters that need quoting.
    Path,
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EndpointError::Scheme => "the address to listen at must start with ws://",
            EndpointError::Host => {
                "the address to listen at must have an IP address or `localhost` as its host"
            }
            EndpointError::Port => {
                "the address to listen at must have a port, as in ws://localhost:20036/signer"
            }
            EndpointError::Path => {
                "the address to listen at must have a plain path, as in ws://localhost:20036/signer"
            }
        })
    }
}

impl std::error::Error for EndpointError {}

impl Endpoint {
    /// The socket address to listen at.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.port)
    }

    /// The path that a signer must ask for.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The same endpoint with the port that was taken.
    pub(super) fn with_port(&self, port: u16) -> Endpoint {
        Endpoint {
            port,
            ..self.clone()
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let rest = text.strip_prefix("ws://").ok_or(EndpointError::Scheme)?;
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, "/"),
        };
        let (host, port) = authority.rsplit_once(':').ok_or(EndpointError::Port)?;
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let ip = match (bare, host) {
            (Some(v6), _) => IpAddr::V6(v6.parse().map_err(|_| EndpointError::Host)?),
            (None, "localhost") => IpAddr::V4(Ipv4Addr::LOCALHOST),
            (None, v4) => IpAddr::V4(v4.parse().map_err(|_| EndpointError::Host)?),
        };
        if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(EndpointError::Port);
        }
        let port = port.parse().map_err(|_| EndpointError::Port)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "/-._~".contains(c);
        if !path.chars().all(plain) {
            return Err(EndpointError::Path);
        }
        Ok(Endpoint {
            host: host.to_owned(),
            ip,
            port,
            path: path.to_owned(),
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ws://{}:{}{}", self.host, self.port, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_to_listen_at() {
        for (text, address) in [
            ("ws://localhost:20036/signer", "127.0.0.1:20036"),
            ("ws://127.0.0.1:0/", "127.0.0.1:0"),
            ("ws://0.0.0.0:1", "0.0.0.0:1"),
            ("ws://[::1]:20036/a/b", "[::1]:20036"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.address(), address.parse().unwrap());
            assert_eq!(
                endpoint.to_string().trim_end_matches('/'),
                text.trim_end_matches('/')
            );
        }
        for (text, error) in [
            ("wss://localhost:20036/signer", EndpointError::Scheme),
            ("http://localhost:20036/signer", EndpointError::Scheme),
            ("ws://example.com:20036/signer", EndpointError::Host),
            ("ws://user@localhost:20036/signer", EndpointError::Host),
            ("ws://::1:20036/signer", EndpointError::Host),
            ("ws://localhost/signer", EndpointError::Port),
            ("ws://localhost:/signer", EndpointError::Port),
            ("ws://localhost:+1/signer", EndpointError::Port),
            ("ws://localhost:65536/signer", EndpointError::Port),
            ("ws://localhost:1/signer?a=b", EndpointError::Path),
            ("ws://localhost:1/signer#a", EndpointError::Path),
            ("ws://localhost:1/si gner", EndpointError::Path),
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(error), "{text}");
        }
    }
}
