//! A TOML file that is read key by key, so that every complaint names the file, the line, the key and what is allowed.
//!
//! A [`Table`] is opened with the list of its keys: one that is not in the list is the first thing complained about,
//! since the others are then often missing only because of a typing mistake. A [`Value`] knows where it stands and
//! turns itself into the type that is asked for.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::fs::File;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What is wrong with a configuration, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) struct ConfigError {
    file: PathBuf,
    line: Option<usize>,
    message: String,
}

impl Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.message)
    }
}

/// The text of a configuration file.
#[derive(Debug)]
pub(crate) struct Document {
    path: PathBuf,
    text: String,
}

impl Document {
    /// Reads the file at `path`.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = read_text(path).map_err(|error| ConfigError {
            file: path.into(),
            line: None,
            message: format!("cannot be read: {error}"),
        })?;
        Ok(Self {
            path: path.into(),
            text,
        })
    }

    /// The table that holds everything; `keys` are all that it may have.
    pub(crate) fn root(&self, keys: &'static [&'static str]) -> Result<Table<'_>, ConfigError> {
        let root = DeTable::parse(&self.text).map_err(|error| {
            let offset = error.span().map(|span| span.start);
            let message = format!("is not TOML: {}", error.message().replace('\n', ", "));
            self.error(offset, message)
        })?;
        Table::open(self, String::new(), None, root.into_inner(), keys)
    }

    fn error(&self, offset: Option<usize>, message: String) -> ConfigError {
        ConfigError {
            file: self.path.clone(),
            line: offset.map(|offset| self.line(offset)),
            message,
        }
    }

    fn line(&self, offset: usize) -> usize {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }
}

/// One table of a document, all of whose keys are known.
#[derive(Debug)]
pub(crate) struct Table<'d> {
    document: &'d Document,
    /// How its keys are introduced in a complaint: empty, or `[[network]] `.
    label: String,
    offset: Option<usize>,
    entries: DeTable<'d>,
}

impl<'d> Table<'d> {
    /// The value of `key`, if it is there.
    pub(crate) fn get(&self, key: &'static str) -> Option<Value<'_>> {
        let value = self.entries.get(key)?;
        Some(Value {
            document: self.document,
            name: format!("{}{key}", self.label),
            value,
        })
    }

    /// The value of `key`, which must be there.
    pub(crate) fn require(&self, key: &'static str) -> Result<Value<'_>, ConfigError> {
        self.get(key).ok_or_else(|| {
            let message = format!("{}{key}: missing", self.label);
            self.document.error(self.offset, message)
        })
    }

    /// The tables that are written as `[[key]]`, each with no other keys than `keys`.
    pub(crate) fn tables(
        &self,
        key: &'static str,
        keys: &'static [&'static str],
    ) -> Result<Vec<Self>, ConfigError> {
        let Some(value) = self.entries.get(key) else {
            return Ok(Vec::new());
        };
        let wrong = |value: &Spanned<DeValue<'_>>| {
            let message = format!("{key}: write each one as a table of its own, under [[{key}]]");
            self.document.error(Some(value.span().start), message)
        };
        let tables = value.get_ref().as_array().ok_or_else(|| wrong(value))?;
        let open = |entry: &Spanned<DeValue<'d>>| {
            let table = entry.get_ref().as_table().ok_or_else(|| wrong(entry))?;
            let offset = Some(entry.span().start);
            Table::open(
                self.document,
                format!("[[{key}]] "),
                offset,
                table.clone(),
                keys,
            )
        };
        tables.iter().map(open).collect()
    }

    /// A complaint about the table as a whole.
    pub(crate) fn error(&self, message: impl Display) -> ConfigError {
        let message = format!("{}{message}", self.label);
        self.document.error(self.offset, message)
    }

    fn open(
        document: &'d Document,
        label: String,
        offset: Option<usize>,
        entries: DeTable<'d>,
        keys: &'static [&'static str],
    ) -> Result<Self, ConfigError> {
        let unknown = entries
            .keys()
            .filter(|key| !keys.contains(&key.get_ref().as_ref()))
            .min_by_key(|key| key.span().start);
        if let Some(key) = unknown {
            let message = format!("{label}{}", unknown_key(key.get_ref(), keys));
            return Err(document.error(Some(key.span().start), message));
        }
        Ok(Self {
            document,
            label,
            offset,
            entries,
        })
    }
}

/// One value of a document, with its place and its key's name.
#[derive(Debug)]
pub(crate) struct Value<'t> {
    document: &'t Document,
    name: String,
    value: &'t Spanned<DeValue<'t>>,
}

impl Value<'_> {
    /// A text that is of type `T`; `T` itself says what is allowed.
    pub(crate) fn parse<T: FromStr<Err: Display>>(&self) -> Result<T, ConfigError> {
        let text = self.text("text in quotes")?;
        text.parse()
            .map_err(|error| self.error(format!("{error}, found \"{text}\"")))
    }

    /// A text that is of type `T`; `expected` says what is allowed.
    pub(crate) fn parse_as<T: FromStr>(&self, expected: &str) -> Result<T, ConfigError> {
        let text = self.text(expected)?;
        text.parse().map_err(|_| self.expected(expected))
    }

    /// One of the words in `choices`.
    pub(crate) fn one_of<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, ConfigError> {
        let words: Vec<_> = choices
            .iter()
            .map(|(word, _)| format!("\"{word}\""))
            .collect();
        let expected = words.join(" or ");
        let text = self.text(&expected)?;
        choices
            .iter()
            .find(|(word, _)| *word == text)
            .map(|(_, choice)| *choice)
            .ok_or_else(|| self.expected(&expected))
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&self) -> Result<bool, ConfigError> {
        let expected = "true or false, without quotes";
        self.value
            .get_ref()
            .as_bool()
            .ok_or_else(|| self.expected(expected))
    }

    /// A port number, or a range of them.
    pub(crate) fn ports(&self) -> Result<RangeInclusive<u16>, ConfigError> {
        let value = self.value.get_ref();
        let number = value.as_integer().and_then(|integer| {
            let port = u16::from_str_radix(integer.as_str(), integer.radix()).ok()?;
            Some(port..=port)
        });
        let range = value.as_str().and_then(|text| {
            let (first, last) = text.split_once('-')?;
            Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
        });
        number
            .or(range)
            .filter(|ports| *ports.start() > 0 && !ports.is_empty())
            .ok_or_else(|| {
                self.expected(
                    "a port from 1 to 65535, without quotes, or a range such as \"10000-10100\"",
                )
            })
    }

    /// An address and a port, neither of which is left to the operating system.
    pub(crate) fn socket_address(&self) -> Result<SocketAddr, ConfigError> {
        let expected = "an IP address and a port from 1 to 65535, such as \"127.0.0.1:8080\"";
        let address: SocketAddr = self.parse_as(expected)?;
        if address.port() == 0 {
            return Err(self.expected(expected));
        }
        Ok(address)
    }

    /// A path; one that is relative starts at the configuration file.
    pub(crate) fn path(&self) -> Result<PathBuf, ConfigError> {
        let text = self.text("a path in quotes")?;
        if text.is_empty() {
            return Err(self.expected("a path"));
        }
        let directory = self.document.path.parent().unwrap_or(Path::new(""));
        Ok(directory.join(text))
    }

    /// A name of at most `longest` bytes that can be shown on one line.
    pub(crate) fn name(&self, longest: usize) -> Result<String, ConfigError> {
        let expected = format!("a name of 1 to {longest} bytes on one line");
        let text = self.text(&expected)?;
        let fits = (1..=longest).contains(&text.len());
        if !fits || text.trim() != text || text.chars().any(char::is_control) {
            return Err(self.expected(&expected));
        }
        Ok(text.into())
    }

    /// The values of a list, or this one alone, where the key takes one or several.
    pub(crate) fn one_or_more(&self) -> Result<Vec<Value<'_>>, ConfigError> {
        let alone = || Value {
            document: self.document,
            name: self.name.clone(),
            value: self.value,
        };
        let Some(list) = self.value.get_ref().as_array() else {
            return Ok(vec![alone()]);
        };
        if list.is_empty() {
            return Err(self.error("the list is empty: expected at least one"));
        }
        let member = |value| Value { value, ..alone() };
        Ok(list.iter().map(member).collect())
    }

    /// A complaint about this value.
    pub(crate) fn error(&self, message: impl Display) -> ConfigError {
        let message = format!("{}: {message}", self.name);
        self.document.error(Some(self.value.span().start), message)
    }

    /// A text as it stands there; `expected` says what it is to be.
    pub(crate) fn text(&self, expected: &str) -> Result<&str, ConfigError> {
        self.value
            .get_ref()
            .as_str()
            .ok_or_else(|| self.expected(expected))
    }

    /// A complaint that it is something else.
    pub(crate) fn expected(&self, expected: &str) -> ConfigError {
        self.error(format!("expected {expected}, found {}", self.found()))
    }

    fn found(&self) -> String {
        match self.value.get_ref() {
            DeValue::String(text) => format!("\"{text}\""),
            DeValue::Integer(integer) => integer.to_string(),
            DeValue::Float(float) => float.to_string(),
            DeValue::Boolean(boolean) => boolean.to_string(),
            DeValue::Datetime(datetime) => datetime.to_string(),
            DeValue::Array(_) => "a list".into(),
            DeValue::Table(_) => "a table".into(),
        }
    }
}

/// The values of one kind so far, none of which may come twice.
#[derive(Debug)]
pub(crate) struct Distinct<T> {
    lines: BTreeMap<T, usize>,
}

impl<T: Ord> Distinct<T> {
    pub(crate) fn new() -> Self {
        Self {
            lines: BTreeMap::new(),
        }
    }

    /// Notes `item`, which `value` says, or complains that an earlier line has said it.
    pub(crate) fn insert(&mut self, item: T, value: &Value<'_>) -> Result<(), ConfigError> {
        self.insert_part(item, value, value.found())
    }

    /// Notes `item`, which is a part of what `value` says and is called `found` in a complaint.
    pub(crate) fn insert_part(
        &mut self,
        item: T,
        value: &Value<'_>,
        found: impl Display,
    ) -> Result<(), ConfigError> {
        let line = value.document.line(value.value.span().start);
        match self.lines.insert(item, line) {
            None => Ok(()),
            Some(earlier) => Err(value.error(format!("{found} is taken by line {earlier}"))),
        }
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let mut file = File::open(path)?.take(LARGEST_FILE);
    file.read_to_string(&mut text)?;
    if file.limit() == 0 {
        let error = "too large for a configuration";
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, error));
    }
    Ok(text)
}

fn unknown_key(key: &str, keys: &[&str]) -> String {
    let near = keys
        .iter()
        .map(|known| (strsim::osa_distance(key, known), known))
        .filter(|(distance, known)| *distance <= known.len() / LETTERS_PER_MISTAKE)
        .min();
    let allowed = keys.join(", ");
    match near {
        Some((_, near)) => {
            format!("{key}: unknown key, did you mean `{near}`? (allowed: {allowed})")
        }
        None => format!("{key}: unknown key (allowed: {allowed})"),
    }
}

/// A file with 10,000 clients takes about 1 MB; a wrong path (a disk image, a device) must not fill the memory.
const LARGEST_FILE: u64 = 16 * 1024 * 1024;

/// A key with more typing mistakes than one in three letters is another word.
const LETTERS_PER_MISTAKE: usize = 3;
