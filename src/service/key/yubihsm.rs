//! A key in a YubiHSM 2, behind Yubico's connector. The key never leaves the device; this service knows the password of
//! an authentication key that may use it.
//!
//! Each signature has a session of its own, so that a connector that restarted, or a device that was unplugged
//! meanwhile, makes no difference. The device drops a session after 30 s and has room for 16.

use std::error::Error as StdError;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use tungstenite::http::Uri;
use yubihsm::client::{self, ErrorKind};
use yubihsm::connector::HttpConfig;
use yubihsm::{Client, Connector, Credentials, device};

use super::written::{Ask, OpenError, file};
use crate::error::Exit;
use crate::ndau::{Algorithm, PublicKey, Signature};
use crate::secret::read_private;
use crate::signer::KeyFileError;
use crate::signer::keyfile::Table;

/// The port of Yubico's connector.
const PORT: u16 = 12345;

/// A key in a device, as its table in `sigconfig.toml` says it.
#[derive(Debug)]
pub(super) struct Written {
    connector: HttpConfig,
    auth_key: u16,
    password_file: Option<PathBuf>,
    key: u16,
}

impl Written {
    pub(super) fn read(table: &Table<'_>, public: &PublicKey) -> Result<Written, KeyFileError> {
        table.only(&[
            "type",
            "pub_key",
            "connector",
            "auth_key",
            "password_file",
            "key",
        ])?;
        if public.algorithm() != Algorithm::Ed25519 {
            let problem = "is not an ed25519 key; a YubiHSM signs with no other here";
            return Err(table.error("pub_key", problem));
        }
        let uri: Option<Uri> = table.text("connector")?.parse().ok();
        let connector = uri.as_ref().and_then(connector_of).ok_or_else(|| {
            let problem = "must be the address of a yubihsm-connector, like http://127.0.0.1:12345";
            table.error("connector", problem)
        })?;
        Ok(Written {
            connector,
            auth_key: table.id("auth_key")?,
            password_file: file(table, "password_file")?,
            key: table.id("key")?,
        })
    }

    /// The key, with the password from its file or from a person.
    pub(super) fn open(self, table: &str, folder: &Path, ask: Ask<'_>) -> Result<Hsm, OpenError> {
        let password = match self.password_file {
            Some(path) => read_private(&folder.join(path)).map_err(OpenError::File)?,
            None => {
                let question = format!(
                    "{table}: the password of authentication key {}: ",
                    self.auth_key
                );
                ask(&question).map_err(OpenError::NotAsked)?
            }
        };
        // An editor ends a file's last line; a password has no such end.
        let password = password.expose().trim_end_matches(['\r', '\n']);
        Ok(Hsm {
            connector: self.connector,
            credentials: Credentials::from_password(self.auth_key, password.as_bytes()),
            key: self.key,
        })
    }
}

/// Scheme, host and port of `uri`, if it has no more than these.
fn connector_of(uri: &Uri) -> Option<HttpConfig> {
    let host = uri.host().filter(|host| !host.is_empty())?;
    let plain = uri.scheme_str() == Some("http")
        && uri.path() == "/"
        && uri.query().is_none()
        && !uri.authority()?.as_str().contains('@');
    plain.then(|| HttpConfig {
        addr: host.to_owned(),
        port: uri.port_u16().unwrap_or(PORT),
        ..HttpConfig::default()
    })
}

/// A key in a device.
pub(super) struct Hsm {
    connector: HttpConfig,
    credentials: Credentials,
    key: u16,
}

impl fmt::Debug for Hsm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[key {} behind {}]", self.key, self.connector)
    }
}

/// Why a device gave no signature.
#[derive(Debug)]
pub enum HsmError {
    /// The connector or the device said no, or nothing: does the connector run there, with the device in it?
    Device {
        /// Where the connector is.
        connector: String,
        /// What was said.
        source: Box<client::Error>,
    },
    /// The library did not cope with what the connector said: is it a connector of a YubiHSM?
    Library,
}

impl HsmError {
    /// How the program ends when this ends it.
    pub fn exit(&self) -> Exit {
        let HsmError::Device { source: error, .. } = self else {
            return Exit::Unavailable;
        };
        match (error.kind(), error.device_error()) {
            (ErrorKind::AuthenticationError, _)
            | (
                _,
                Some(
                    device::ErrorKind::AuthenticationFailed
                    | device::ErrorKind::InsufficientPermissions,
                ),
            ) => Exit::Refused,
            (_, Some(device::ErrorKind::ObjectNotFound | device::ErrorKind::InvalidCommand)) => {
                Exit::Config
            }
            _ => Exit::Unavailable,
        }
    }
}

impl fmt::Display for HsmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HsmError::Device { connector, .. } => {
                write!(f, "the YubiHSM behind the connector {connector}")
            }
            HsmError::Library => {
                f.write_str("what listens there does not answer as a yubihsm-connector does")
            }
        }
    }
}

impl StdError for HsmError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            HsmError::Device { source, .. } => Some(source.as_ref()),
            HsmError::Library => None,
        }
    }
}

impl Hsm {
    /// What the device signs, which nobody has verified yet. A connector that falls silent is given up after 20 s.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Signature, HsmError> {
        let sign = || {
            let connector = Connector::http(&self.connector);
            let client = Client::open(connector, self.credentials.clone(), false)?;
            client.sign_ed25519(self.key, message)
        };
        // The library stops the program over answers that no connector gives.
        let signature = catch_unwind(AssertUnwindSafe(sign))
            .map_err(|_| HsmError::Library)?
            .map_err(|error| HsmError::Device {
                connector: self.connector.to_string(),
                source: Box::new(error),
            })?;
        Signature::from_bytes(Algorithm::Ed25519, &signature.to_bytes())
            .map_err(|_| HsmError::Library)
    }
}

#[cfg(test)]
#[cfg(feature = "mockhsm")]
mod tests {
    use super::*;
    use crate::error::chain;
    use crate::ndau::PrivateKey;
    use crate::secret::Secret;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;
    use yubihsm::connector::http::Server;
    use yubihsm::{Capability, Domain, asymmetric, object};

    const KEY: u16 = 7;

    fn key() -> PrivateKey {
        PrivateKey::from_ed25519_seed(&[1; 32])
    }

    fn free_port() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    }

    /// A connector with the library's simulated device, which holds [`key`], and where it is.
    fn connector() -> HttpConfig {
        let device = Connector::mockhsm();
        let client = Client::open(device.clone(), Credentials::default(), true).unwrap();
        let id = client.put_asymmetric_key(
            KEY,
            object::Label::from_bytes(b"issue").unwrap(),
            Domain::all(),
            Capability::SIGN_EDDSA,
            asymmetric::Algorithm::Ed25519,
            vec![1; 32],
        );
        assert_eq!(id.unwrap(), KEY);
        loop {
            let config = HttpConfig {
                port: free_port(),
                ..HttpConfig::default()
            };
            // Another test may have taken the port.
            if let Ok(server) = Server::new(&config, device.clone()) {
                thread::spawn(move || while server.handle_request().is_ok() {});
                return config;
            }
        }
    }

    fn hsm(connector: HttpConfig, password: &str, key: u16) -> Hsm {
        Hsm {
            connector,
            credentials: Credentials::from_password(1, password.as_bytes()),
            key,
        }
    }

    #[test]
    fn the_device_signs_as_the_key_itself_would() {
        let hsm = hsm(connector(), "password", KEY);
        for message in [&b"one"[..], &[0; 16], &[]] {
            assert_eq!(hsm.sign(message).unwrap(), key().sign(message));
        }
        assert!(!format!("{hsm:?}").contains("password"));
    }

    #[test]
    fn a_password_that_is_in_no_file_is_asked_for() {
        let written = Written {
            connector: connector(),
            auth_key: 1,
            password_file: None,
            key: KEY,
        };
        let person = |question: &str| {
            assert_eq!(question, "keys.hsm: the password of authentication key 1: ");
            Ok(Secret::new("password".to_owned()))
        };
        let hsm = written.open("keys.hsm", Path::new(""), &person).unwrap();
        assert_eq!(hsm.sign(b"one").unwrap(), key().sign(b"one"));
    }

    #[test]
    fn only_a_plain_address_is_a_connectors() {
        let read = |text: &str| connector_of(&text.parse().unwrap());
        for (text, expected) in [
            ("http://127.0.0.1:12345", Some("http://127.0.0.1:12345")),
            ("http://hsm/", Some("http://hsm:12345")),
            ("http://[::1]:1", Some("http://[::1]:1")),
            ("https://127.0.0.1:12345", None),
            ("http://user@127.0.0.1", None),
            ("http://127.0.0.1/api", None),
            ("http://127.0.0.1/?a", None),
            ("127.0.0.1:12345", None),
            ("/", None),
        ] {
            let found = read(text).map(|config| config.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn what_the_device_refuses_is_told() {
        let connector = connector();
        let error = hsm(connector.clone(), "passw0rd", KEY)
            .sign(b"")
            .unwrap_err();
        assert_eq!(error.exit(), Exit::Refused, "{}", chain(&error));
        let error = hsm(connector, "password", 8).sign(b"").unwrap_err();
        assert_eq!(error.exit(), Exit::Config, "{}", chain(&error));
        assert!(chain(&error).contains("not found"), "{}", chain(&error));
    }

    #[test]
    fn what_is_no_connector_is_unavailable() {
        let nobody = HttpConfig {
            port: free_port(),
            ..HttpConfig::default()
        };
        let error = hsm(nobody, "password", KEY).sign(b"").unwrap_err();
        assert_eq!(error.exit(), Exit::Unavailable, "{}", chain(&error));

        let head = "HTTP/1.1 200 OK\r\nContent-Length: ";
        for answer in [
            String::new(),
            "HTTP/1.1 500 Internal Server Error\r\n\r\n".to_owned(),
            format!("{head}0\r\n\r\n"),
            format!("{head}3\r\n\r\n\u{1}\u{2}\u{3}"),
            format!("{head}99999999\r\n\r\n"),
            format!("{head}30000\r\n\r\n{}", "a".repeat(70_000)),
            "a".repeat(200_000),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let strange = HttpConfig {
                port: listener.local_addr().unwrap().port(),
                ..HttpConfig::default()
            };
            thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(answer.as_bytes());
            });
            let error = hsm(strange, "password", KEY).sign(b"").unwrap_err();
            assert_eq!(error.exit(), Exit::Unavailable, "{}", chain(&error));
        }
    }
}
