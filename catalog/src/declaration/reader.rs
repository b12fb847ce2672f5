//! Reads TOML field by field, keeping every fault with its line.

use std::{fmt::Display, ops::Range, str::FromStr};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{Declaration, DeclarationError};

/// A text value of the file.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) text: String,
}

/// A table under reading: fields are taken out, what is left is unknown.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    path: String,
    key: String,
    span: Range<usize>,
    values: Vec<(String, Range<usize>, Spanned<DeValue<'a>>)>,
    seen: Vec<(String, Range<usize>)>,
}

/// One file under reading.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    text: &'a str,
    origin: &'a str,
    faults: Vec<(usize, String)>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str, origin: &'a str) -> Self {
        Self {
            text,
            origin,
            faults: Vec::new(),
        }
    }

    pub(super) fn into_result(
        mut self,
        declaration: Declaration,
    ) -> Result<Declaration, DeclarationError> {
        if self.faults.is_empty() {
            return Ok(declaration);
        }
        self.faults.sort();
        Err(DeclarationError(
            self.faults.into_iter().map(|(_, words)| words).collect(),
        ))
    }

    /// The whole file, unless it is no TOML.
    pub(super) fn root(&mut self) -> Option<Fields<'a>> {
        match DeTable::parse(self.text) {
            Ok(table) => Some(fields(
                String::new(),
                String::new(),
                0..0,
                table.into_inner(),
            )),
            Err(error) => {
                let line = self.line(error.span().unwrap_or(0..0).start);
                let words = format!("{}:{line}: {}", self.origin, error.message());
                self.faults.push((line, words));
                None
            }
        }
    }

    /// The tables inside table `name`, such as `[servers.blue]` inside `servers`.
    pub(super) fn tables(&mut self, parent: &mut Fields<'a>, name: &str) -> Vec<Fields<'a>> {
        let Some(mut outer) = self.optional_table(parent, name) else {
            return Vec::new();
        };
        let values = std::mem::take(&mut outer.values);
        let mut tables = Vec::with_capacity(values.len());
        for (key, span, value) in values {
            let path = format!("{name}.{key}");
            match value.into_inner() {
                DeValue::Table(table) => tables.push(fields(path, key, span, table)),
                other => self.fault_at(span, &path, &wrong_type(&other, "a table")),
            }
        }
        tables
    }

    pub(super) fn table(&mut self, parent: &mut Fields<'a>, name: &str) -> Option<Fields<'a>> {
        let found = self.optional_table(parent, name);
        if found.is_none() && !parent.saw(name) {
            self.missing(parent, name);
        }
        found
    }

    fn optional_table(&mut self, parent: &mut Fields<'a>, name: &str) -> Option<Fields<'a>> {
        let (span, value) = parent.take(name)?;
        let path = parent.at(name);
        match value {
            DeValue::Table(table) => Some(fields(path, name.to_owned(), span, table)),
            other => {
                self.fault_at(span, &path, &wrong_type(&other, "a table"));
                None
            }
        }
    }

    pub(super) fn optional(&mut self, fields: &mut Fields<'a>, name: &str) -> Option<Text> {
        let (span, value) = fields.take(name)?;
        match value {
            DeValue::String(text) => Some(Text {
                text: text.into_owned(),
            }),
            other => {
                self.fault_at(span, &fields.at(name), &wrong_type(&other, "a text"));
                None
            }
        }
    }

    pub(super) fn required(&mut self, fields: &mut Fields<'a>, name: &str) -> Option<Text> {
        let found = self.optional(fields, name);
        if found.is_none() && !fields.saw(name) {
            self.missing(fields, name);
        }
        found
    }

    /// A required text, parsed.
    pub(super) fn parsed<T>(&mut self, fields: &mut Fields<'a>, name: &str) -> Option<T>
    where
        T: FromStr<Err: Display>,
    {
        let text = self.required(fields, name)?.text;
        self.parse(fields, name, &text)
    }

    /// The table's own name, parsed.
    pub(super) fn parsed_key<T>(&mut self, fields: &Fields<'_>) -> Option<T>
    where
        T: FromStr<Err: Display>,
    {
        match fields.key.parse() {
            Ok(name) => Some(name),
            Err(error) => {
                self.fault_at(fields.span.clone(), &fields.path, &error.to_string());
                None
            }
        }
    }

    /// A list of texts, parsed; empty when the field is absent.
    pub(super) fn list<T>(&mut self, fields: &mut Fields<'a>, name: &str) -> Vec<T>
    where
        T: FromStr<Err: Display>,
    {
        let Some((span, value)) = fields.take(name) else {
            return Vec::new();
        };
        let DeValue::Array(items) = value else {
            self.fault_at(
                span,
                &fields.at(name),
                &wrong_type(&value, "a list of texts"),
            );
            return Vec::new();
        };
        let mut parsed = Vec::new();
        for item in items {
            match item.into_inner() {
                DeValue::String(text) => parsed.extend(self.parse(fields, name, &text)),
                other => {
                    let words = wrong_type(&other, "a text");
                    self.fault_at(span.clone(), &fields.at(name), &words);
                }
            }
        }
        parsed
    }

    /// A required TCP port.
    pub(super) fn port(&mut self, fields: &mut Fields<'a>, name: &str) -> Option<u16> {
        let Some((span, value)) = fields.take(name) else {
            self.missing(fields, name);
            return None;
        };
        let port = match &value {
            DeValue::Integer(number) => number.as_str().parse::<u16>().ok().filter(|&p| p != 0),
            _ => None,
        };
        if port.is_none() {
            let found = match &value {
                DeValue::Integer(number) => number.as_str().to_owned(),
                other => kind(other).to_owned(),
            };
            let words = format!("{found} is no port; allowed: 1 to 65535");
            self.fault_at(span, &fields.at(name), &words);
        }
        port
    }

    /// Names what nobody took.
    pub(super) fn finish(&mut self, fields: Fields<'_>, allowed: &[&str]) {
        for (name, span, _) in &fields.values {
            let words = format!("unknown field; allowed here: {}", allowed.join(", "));
            self.fault_at(span.clone(), &fields.at(name), &words);
        }
    }

    /// A fault of a field that was read.
    pub(super) fn fault(&mut self, fields: &Fields<'_>, name: &str, words: &str) {
        let span = fields
            .seen
            .iter()
            .find(|(seen, _)| seen == name)
            .map_or(&fields.span, |(_, span)| span);
        self.fault_at(span.clone(), &fields.at(name), words);
    }

    /// A fault between tables.
    pub(super) fn global_fault(&mut self, words: &str) {
        self.faults
            .push((usize::MAX, format!("{}: {words}", self.origin)));
    }

    fn parse<T>(&mut self, fields: &Fields<'_>, name: &str, text: &str) -> Option<T>
    where
        T: FromStr<Err: Display>,
    {
        match text.parse() {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                self.fault(fields, name, &error.to_string());
                None
            }
        }
    }

    fn missing(&mut self, fields: &Fields<'_>, name: &str) {
        self.fault_at(fields.span.clone(), &fields.at(name), "is missing");
    }

    fn fault_at(&mut self, span: Range<usize>, path: &str, words: &str) {
        let line = self.line(span.start);
        let words = format!("{}:{line}: {path}: {words}", self.origin);
        self.faults.push((line, words));
    }

    fn line(&self, offset: usize) -> usize {
        let before = self.text.get(..offset).unwrap_or_default();
        before.bytes().filter(|&byte| byte == b'\n').count() + 1
    }
}

impl<'a> Fields<'a> {
    fn take(&mut self, name: &str) -> Option<(Range<usize>, DeValue<'a>)> {
        let at = self.values.iter().position(|(key, ..)| key == name)?;
        let (key, span, value) = self.values.remove(at);
        self.seen.push((key, span.clone()));
        Some((span, value.into_inner()))
    }

    fn saw(&self, name: &str) -> bool {
        self.seen.iter().any(|(seen, _)| seen == name)
    }

    fn at(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }
}

fn fields<'a>(path: String, key: String, span: Range<usize>, table: DeTable<'a>) -> Fields<'a> {
    let values = table
        .into_iter()
        .map(|(name, value)| {
            let span = name.span();
            (name.into_inner().into_owned(), span, value)
        })
        .collect();
    Fields {
        path,
        key,
        span,
        values,
        seen: Vec::new(),
    }
}

fn wrong_type(found: &DeValue<'_>, wanted: &str) -> String {
    format!("{} found; allowed: {wanted}", kind(found))
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
