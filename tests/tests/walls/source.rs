//! The modules of a crate, and what each one names: read from the text, tests left out.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use proc_macro2::{Literal, TokenStream, TokenTree};
use syn::{
    Attribute, Item, ItemMod, ItemUse, LitStr, UseTree,
    visit::{self, Visit},
};

/// A path as it is written, such as `super::fence::record`, and the line it stands on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Reference {
    pub(crate) path: Vec<String>,
    pub(crate) line: usize,
}

/// A string literal and the line it stands on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Text {
    pub(crate) value: String,
    pub(crate) line: usize,
}

/// One module; several inline modules may share a file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Module {
    /// Relative to the folder of the crate's sources, such as `steps/fence.rs`.
    pub(crate) file: String,
    pub(crate) children: BTreeSet<String>,
    /// The names that this module defines itself.
    pub(crate) items: BTreeSet<String>,
    /// The names that `use` brings in, and the paths they stand for.
    pub(crate) imports: BTreeMap<String, Vec<String>>,
    /// The names of `imports` that other modules can reach through this one.
    pub(crate) exported: BTreeSet<String>,
    /// The paths that `use …::*` brings in.
    pub(crate) globs: Vec<Reference>,
    /// Every path of two names or more outside of `use`.
    pub(crate) references: Vec<Reference>,
    /// Every path of one name.
    pub(crate) single_names: BTreeSet<String>,
    /// The lines of the imports, by name.
    pub(crate) import_lines: BTreeMap<String, usize>,
    pub(crate) texts: Vec<Text>,
    /// The lines on which a macro takes another file's text.
    pub(crate) includes: Vec<usize>,
}

/// A crate's modules by their path; the root has the empty one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    pub(crate) modules: BTreeMap<Vec<String>, Module>,
}

impl Source {
    /// Reads the crate whose root is `root`; `read` gives a file's text by its path below the
    /// folder of the sources.
    pub(crate) fn load(root: &str, read: &dyn Fn(&str) -> Result<String>) -> Result<Self> {
        let mut source = Self::default();
        source.load_file(Vec::new(), root, "", read)?;
        Ok(source)
    }

    /// The same crate, in which what `file` passes on counts as defined by it.
    pub(crate) fn with_own(&self, file: &str) -> Self {
        let mut source = self.clone();
        let modules = source.modules.values_mut();
        for module in modules.filter(|module| module.file == format!("{file}.rs")) {
            module.items.extend(module.exported.iter().cloned());
        }
        source
    }

    fn load_file(
        &mut self,
        path: Vec<String>,
        file: &str,
        folder: &str,
        read: &dyn Fn(&str) -> Result<String>,
    ) -> Result<()> {
        let text = read(file).with_context(|| file.to_owned())?;
        let parsed = syn::parse_file(&text).with_context(|| file.to_owned())?;
        self.load_items(path, file, folder, &parsed.items, read)
    }

    fn load_items(
        &mut self,
        path: Vec<String>,
        file: &str,
        folder: &str,
        items: &[Item],
        read: &dyn Fn(&str) -> Result<String>,
    ) -> Result<()> {
        let mut module = Module {
            file: file.to_owned(),
            ..Module::default()
        };
        for item in items {
            if let Item::Mod(child) = item {
                if is_test(&child.attrs) {
                    continue;
                }
                let name = child.ident.to_string();
                module.children.insert(name.clone());
                let mut below = path.clone();
                below.push(name.clone());
                self.load_child(below, &name, child, file, folder, read)?;
            } else {
                Collector(&mut module).visit_item(item);
            }
        }
        self.modules.insert(path, module);
        Ok(())
    }

    fn load_child(
        &mut self,
        path: Vec<String>,
        name: &str,
        child: &ItemMod,
        file: &str,
        folder: &str,
        read: &dyn Fn(&str) -> Result<String>,
    ) -> Result<()> {
        let inner = format!("{folder}{name}/");
        match &child.content {
            Some((_, items)) => self.load_items(path, file, &inner, items, read),
            None => self.load_file(path, &format!("{folder}{name}.rs"), &inner, read),
        }
    }
}

/// Gathers what a module names; inner modules are left to the loader.
struct Collector<'a>(&'a mut Module);

impl Collector<'_> {
    fn note_use(&mut self, item: &ItemUse) {
        let public = !matches!(item.vis, syn::Visibility::Inherited);
        let mut found = Vec::new();
        flatten(&item.tree, &mut Vec::new(), &mut found);
        for (name, path, line) in found {
            if name == "*" {
                self.0.globs.push(Reference { path, line });
                continue;
            }
            if public {
                self.0.exported.insert(name.clone());
            }
            self.0.import_lines.insert(name.clone(), line);
            self.0.imports.insert(name, path);
        }
    }

    /// Macros are not parsed: their tokens are searched for paths and texts.
    fn search(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut line = 0;
        let mut colons = 0;
        for tree in tokens {
            match tree {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.note_path(std::mem::take(&mut path), line);
                    }
                    line = ident.span().start().line;
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Punct(_) => {
                    self.note_path(std::mem::take(&mut path), line);
                    colons = 0;
                }
                TokenTree::Group(group) => {
                    self.note_path(std::mem::take(&mut path), line);
                    colons = 0;
                    self.search(group.stream());
                }
                TokenTree::Literal(literal) => {
                    self.note_path(std::mem::take(&mut path), line);
                    colons = 0;
                    self.note_text(&literal);
                }
            }
        }
        self.note_path(path, line);
    }

    fn note_text(&mut self, literal: &Literal) {
        let line = literal.span().start().line;
        if let Ok(text) = syn::parse_str::<LitStr>(&literal.to_string()) {
            let value = text.value();
            self.0.texts.push(Text { value, line });
        }
    }

    fn note_path(&mut self, path: Vec<String>, line: usize) {
        if path.len() > 1 {
            self.0.references.push(Reference { path, line });
        } else if let Some(name) = path.into_iter().next() {
            if INCLUDES.contains(&name.as_str()) {
                self.0.includes.push(line);
            }
            self.0.single_names.insert(name);
        }
    }
}

impl<'ast> Visit<'ast> for Collector<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if attributes(item).is_some_and(is_test) {
            return;
        }
        if let Some(name) = name_of(item) {
            self.0.items.insert(name);
        }
        visit::visit_item(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if !is_test(&item.attrs) {
            self.note_use(item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path.segments.iter();
        let line = path.segments[0].ident.span().start().line;
        self.note_path(segments.map(|part| part.ident.to_string()).collect(), line);
        visit::visit_path(self, path);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_test(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.visit_path(&item.path);
        self.search(item.tokens.clone());
    }

    fn visit_lit_str(&mut self, text: &'ast LitStr) {
        let line = text.span().start().line;
        let value = text.value();
        self.0.texts.push(Text { value, line });
    }

    /// Comments and attributes are no code.
    fn visit_attribute(&mut self, _: &'ast Attribute) {}
}

fn flatten(
    tree: &UseTree,
    before: &mut Vec<String>,
    found: &mut Vec<(String, Vec<String>, usize)>,
) {
    match tree {
        UseTree::Path(part) => {
            before.push(part.ident.to_string());
            flatten(&part.tree, before, found);
            before.pop();
        }
        UseTree::Name(name) => {
            let line = name.ident.span().start().line;
            let name = name.ident.to_string();
            let mut path = before.clone();
            if name != "self" {
                path.push(name);
            }
            let last = path.last().cloned().unwrap_or_default();
            found.push((last, path, line));
        }
        UseTree::Rename(renamed) => {
            let line = renamed.ident.span().start().line;
            let mut path = before.clone();
            path.push(renamed.ident.to_string());
            // `use Trait as _` brings in no name, and is an arrow all the same.
            let name = if renamed.rename == "_" {
                format!("_{}", renamed.ident)
            } else {
                renamed.rename.to_string()
            };
            found.push((name, path, line));
        }
        UseTree::Glob(glob) => {
            let line = glob.star_token.spans[0].start().line;
            found.push(("*".to_owned(), before.clone(), line));
        }
        UseTree::Group(group) => {
            for tree in &group.items {
                flatten(tree, before, found);
            }
        }
    }
}

/// `#[test]`, and anything that only tests or fuzzers compile.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        if path.is_ident("test") {
            return true;
        }
        if !path.is_ident("cfg") {
            return false;
        }
        let syn::Meta::List(list) = &attribute.meta else {
            return false;
        };
        let text = list.tokens.to_string();
        !text.contains("not") && (text.contains("test") || text.contains("fuzzing"))
    })
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a foreign enum, most of which is not used here"
)]
fn attributes(item: &Item) -> Option<&[Attribute]> {
    Some(match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => return None,
    })
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a foreign enum, most of which is not used here"
)]
fn name_of(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

const INCLUDES: &[&str] = &["include", "include_bytes", "include_str"];
