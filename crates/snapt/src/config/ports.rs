//! A set of ports as an administrator writes it.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Ports and ranges of ports, such as `22, 9000-9200`. It may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortSet(Vec<RangeInclusive<u16>>);

impl PortSet {
    /// No port.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Every port that needs no privilege.
    #[must_use]
    pub fn unprivileged() -> Self {
        Self(vec![FIRST_UNPRIVILEGED..=u16::MAX])
    }

    /// Whether `port` is in the set.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|range| range.contains(&port))
    }

    /// Whether no port is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The text names no ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected ports from 1 to 65535 and ranges of them, such as `22, 9000-9200`")]
pub struct ParsePortSetError;

impl FromStr for PortSet {
    type Err = ParsePortSetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().is_empty() {
            return Ok(Self::none());
        }
        text.split(',')
            .map(parse_range)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            if range.start() == range.end() {
                write!(f, "{}", range.start())?;
            } else {
                write!(f, "{}-{}", range.start(), range.end())?;
            }
        }
        Ok(())
    }
}

fn parse_range(text: &str) -> Result<RangeInclusive<u16>, ParsePortSetError> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| match text.trim().parse() {
        Ok(0) | Err(_) => Err(ParsePortSetError),
        Ok(port) => Ok(port),
    };
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return Err(ParsePortSetError);
    }
    Ok(first..=last)
}

/// Below it a program needs a privilege to listen, and what listens there is trusted for that.
const FIRST_UNPRIVILEGED: u16 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_ranges_are_read_and_written() {
        let ports: PortSet = "22,9000 - 9200, 65535".parse().unwrap();
        for (port, inside) in [
            (21, false),
            (22, true),
            (8999, false),
            (9000, true),
            (9200, true),
            (9201, false),
            (65535, true),
        ] {
            assert_eq!(ports.contains(port), inside, "{port}");
        }
        assert_eq!(ports.to_string(), "22, 9000-9200, 65535");
    }

    #[test]
    fn an_empty_text_is_no_port() {
        let ports: PortSet = " ".parse().unwrap();
        assert!(ports.is_empty() && !ports.contains(1024));
        assert_eq!(ports, PortSet::none());
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for text in ["0", "65536", "9200-9000", "web", "1-2-3", "80,", "-"] {
            assert_eq!(text.parse::<PortSet>(), Err(ParsePortSetError), "{text:?}");
        }
    }
}
