//! Answers that are not the one we asked for: what they said, and which [`Error`] they are when nobody inside this room
//! knows better.

use std::fmt;

use super::class::Class;
use super::error::Error;

/// What the exchange answered when it did not answer the question. Texts are excerpts without our credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Who was asked, without a query.
    pub url: String,
    /// The HTTP status.
    pub status: u16,
    /// The exchange's own code.
    pub code: Option<i64>,
    /// Its message.
    pub message: Option<String>,
    /// What its support needs to find the request.
    pub trace: Option<String>,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} answered HTTP {}", self.url, self.status)?;
        if let Some(code) = self.code {
            write!(f, ", code {code}")?;
        }
        if let Some(message) = &self.message {
            write!(f, ", {message:?}")?;
        }
        if let Some(trace) = &self.trace {
            write!(f, " (trace {trace})")?;
        }
        Ok(())
    }
}

/// An answer that is not the one we asked for, and what kind it is.
#[derive(Debug)]
pub(super) struct Rejection {
    pub class: Class,
    pub said: Box<Said>,
    /// How many times it was asked.
    pub tries: u32,
}

/// Why a question has no answer: an answer of another kind, which the one who asked may understand, or the end.
#[derive(Debug)]
pub(super) enum Failure {
    Rejected(Rejection),
    Final(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Final(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let rejection = match failure {
            Failure::Final(error) => return error,
            Failure::Rejected(rejection) => rejection,
        };
        let Rejection { class, said, tries } = rejection;
        match class {
            Class::Auth | Class::AuthToken | Class::Permission => Error::Denied { said },
            Class::Request if is_about_the_symbol(&said) => Error::Symbol { said },
            Class::Ok | Class::Request | Class::Unknown => Error::Rejected { said },
            Class::Clock => Error::Timestamp { said },
            Class::RateLimit => Error::Busy { said },
            Class::Banned => Error::Banned { said },
            Class::Maintenance => Error::Maintenance { said },
            Class::Cloudflare => Error::Cloudflare { said },
            Class::Transient | Class::Malformed => Error::Unavailable { said, tries },
        }
    }
}

fn is_about_the_symbol(said: &Said) -> bool {
    matches!(said.code, Some(50001 | 50040)) || said.message.as_deref() == Some("Unknown symbol")
}
