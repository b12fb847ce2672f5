//! Reads TOML field by field, and collects every fault with its line.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt::Display,
    str::FromStr,
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// Where in the file something is: its offset, and its path of keys.
#[derive(Clone, Debug)]
pub(super) struct Place {
    offset: usize,
    path: String,
}

/// A value, and where it was found.
#[derive(Debug)]
pub(super) struct Field<T> {
    pub(super) value: T,
    pub(super) at: Place,
}

/// A table that is being read. Fields are taken out of it; those that remain are unknown.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    key: String,
    at: Place,
    /// By key, in the order of the file.
    values: Vec<(String, Field<DeValue<'a>>)>,
}

/// A file that is being read.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    text: &'a str,
    origin: &'a str,
    faults: Vec<(usize, String)>,
}

/// Values that must be unique, and where each was found.
#[derive(Debug)]
pub(super) struct Unique<T>(BTreeMap<T, String>);

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str, origin: &'a str) -> Self {
        Self {
            text,
            origin,
            faults: Vec::new(),
        }
    }

    /// In the order of their lines.
    pub(super) fn into_faults(mut self) -> Vec<String> {
        self.faults.sort_by_key(|&(line, _)| line);
        self.faults
            .into_iter()
            .map(|(_, message)| message)
            .collect()
    }

    /// The root table, unless the file is not TOML.
    pub(super) fn root(&mut self) -> Option<Fields<'a>> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            let line = self.line(error.span().map_or(0, |span| span.start));
            let message = format!("{}:{line}: {}", self.origin, error.message());
            self.faults.push((line, message));
        }
        let whole = Place {
            offset: 0,
            path: String::new(),
        };
        errors
            .is_empty()
            .then(|| Fields::new(String::new(), whole, table.into_inner()))
    }

    /// The tables inside table `name`, such as `[servers.blue]` inside `servers`.
    pub(super) fn tables(&mut self, parent: &mut Fields<'a>, name: &str) -> Vec<Fields<'a>> {
        let allowed = format!("[{name}.NAME]");
        let Some(found) = parent.take(name) else {
            return Vec::new();
        };
        let Some(outer) = self.as_table(name, found, &allowed) else {
            return Vec::new();
        };
        outer
            .values
            .into_iter()
            .filter_map(|(key, inner)| self.as_table(&key, inner, &allowed))
            .collect()
    }

    /// A required table.
    pub(super) fn table(
        &mut self,
        parent: &mut Fields<'a>,
        name: &str,
        allowed: &str,
    ) -> Option<Fields<'a>> {
        let found = self.present(parent, name, allowed)?;
        self.as_table(name, found, allowed)
    }

    /// A table that may be absent.
    pub(super) fn optional_table(
        &mut self,
        parent: &mut Fields<'a>,
        name: &str,
        allowed: &str,
    ) -> Option<Fields<'a>> {
        let found = parent.take(name)?;
        self.as_table(name, found, allowed)
    }

    /// A string that may be absent; `allowed` says what it may be.
    pub(super) fn optional(
        &mut self,
        fields: &mut Fields<'a>,
        name: &str,
        allowed: &str,
    ) -> Option<Field<String>> {
        let found = fields.take(name)?;
        self.as_string(found, allowed)
    }

    /// A string that must be there.
    pub(super) fn required(
        &mut self,
        fields: &mut Fields<'a>,
        name: &str,
        allowed: &str,
    ) -> Option<Field<String>> {
        let found = self.present(fields, name, allowed)?;
        self.as_string(found, allowed)
    }

    /// A list of strings; empty when the field is absent.
    pub(super) fn list(
        &mut self,
        fields: &mut Fields<'a>,
        name: &str,
        allowed: &str,
    ) -> Vec<Field<String>> {
        let Some(found) = fields.take(name) else {
            return Vec::new();
        };
        let DeValue::Array(items) = found.value else {
            self.wrong_type(&found, allowed);
            return Vec::new();
        };
        items
            .into_iter()
            .enumerate()
            .filter_map(|(number, item)| {
                let at = Place {
                    offset: item.span().start,
                    path: format!("{}[{number}]", found.at.path),
                };
                let value = item.into_inner();
                self.as_string(Field { value, at }, "a string")
            })
            .collect()
    }

    /// A required TCP port.
    pub(super) fn port(&mut self, fields: &mut Fields<'a>, name: &str) -> Option<Field<u16>> {
        let found = self.present(fields, name, PORTS)?;
        let DeValue::Integer(number) = &found.value else {
            self.wrong_type(&found, PORTS);
            return None;
        };
        match u16::from_str_radix(number.as_str(), number.radix()) {
            Ok(value @ 1..) => Some(Field {
                value,
                at: found.at,
            }),
            Ok(0) | Err(_) => {
                let message = format!("{number} is no port; allowed: {PORTS}");
                self.fault(&found.at, &message);
                None
            }
        }
    }

    /// The table's own name.
    pub(super) fn name<T: FromStr<Err: Display>>(&mut self, fields: &Fields<'_>) -> Option<T> {
        let text = Field {
            value: fields.key.clone(),
            at: fields.at.clone(),
        };
        self.parsed(text).map(|name| name.value)
    }

    /// `text` in its own type.
    pub(super) fn parsed<T>(&mut self, text: Field<String>) -> Option<Field<T>>
    where
        T: FromStr<Err: Display>,
    {
        match text.value.parse() {
            Ok(value) => Some(Field { value, at: text.at }),
            Err(error) => {
                self.fault(&text.at, &error.to_string());
                None
            }
        }
    }

    /// Reports the fields that were not taken.
    pub(super) fn finish(&mut self, fields: Fields<'_>, allowed: &[&str]) {
        let message = format!("not known; allowed: {}", allowed.join(", "));
        for (_, unknown) in fields.values {
            self.fault(&unknown.at, &message);
        }
    }

    pub(super) fn fault(&mut self, at: &Place, message: &str) {
        let line = self.line(at.offset);
        let message = format!("{}:{line}: {}: {message}", self.origin, at.path);
        self.faults.push((line, message));
    }

    fn present(
        &mut self,
        fields: &mut Fields<'a>,
        name: &str,
        allowed: &str,
    ) -> Option<Field<DeValue<'a>>> {
        let found = fields.take(name);
        if found.is_none() {
            let at = fields.at.inner(name, fields.at.offset);
            self.fault(&at, &format!("missing; allowed: {allowed}"));
        }
        found
    }

    fn as_string(&mut self, found: Field<DeValue<'a>>, allowed: &str) -> Option<Field<String>> {
        if let DeValue::String(text) = found.value {
            return Some(Field {
                value: text.into_owned(),
                at: found.at,
            });
        }
        self.wrong_type(&found, allowed);
        None
    }

    fn as_table(
        &mut self,
        key: &str,
        found: Field<DeValue<'a>>,
        allowed: &str,
    ) -> Option<Fields<'a>> {
        if let DeValue::Table(table) = found.value {
            return Some(Fields::new(key.to_owned(), found.at, table));
        }
        self.wrong_type(&found, allowed);
        None
    }

    fn wrong_type(&mut self, found: &Field<DeValue<'_>>, allowed: &str) {
        let message = format!("a TOML {}; allowed: {allowed}", found.value.type_str());
        self.fault(&found.at, &message);
    }

    /// Counted from 1, as in editors.
    fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().iter().take(offset);
        before.filter(|&&byte| byte == b'\n').count() + 1
    }
}

impl<'a> Fields<'a> {
    fn new(key: String, at: Place, table: DeTable<'a>) -> Self {
        let mut values: Vec<_> = table
            .into_iter()
            .map(|(name, value): (Spanned<_>, Spanned<_>)| {
                let at = at.inner(name.get_ref(), name.span().start);
                let value = value.into_inner();
                (name.into_inner().into_owned(), Field { value, at })
            })
            .collect();
        // Of two equal values, the later one in the file is reported.
        values.sort_by_key(|(_, field)| field.at.offset);
        Self { key, at, values }
    }

    /// Where the table stands.
    pub(super) fn at(&self) -> Place {
        self.at.clone()
    }

    /// The last part of the table's name.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    fn take(&mut self, name: &str) -> Option<Field<DeValue<'a>>> {
        let at = self.values.iter().position(|(key, _)| key == name)?;
        Some(self.values.remove(at).1)
    }
}

impl Place {
    fn inner(&self, key: &str, offset: usize) -> Self {
        let path = match self.path.as_str() {
            "" => key.to_owned(),
            outer => format!("{outer}.{key}"),
        };
        Self { offset, path }
    }
}

impl<T: Clone + Display + Ord> Unique<T> {
    /// Takes the value of `field`, or reports where it was found before; `allowed` is the rule.
    pub(super) fn claim(&mut self, reader: &mut Reader<'_>, field: &Field<T>, allowed: &str) {
        match self.0.entry(field.value.clone()) {
            Entry::Vacant(free) => {
                free.insert(field.at.path.clone());
            }
            Entry::Occupied(taken) => {
                let message = format!("{} is {} too; allowed: {allowed}", field.value, taken.get());
                reader.fault(&field.at, &message);
            }
        }
    }
}

impl<T> Default for Unique<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

const PORTS: &str = "1 to 65535";
