use std::{collections::BTreeMap, ops::Range};

use anyhow::{Context as _, Result};
use proc_macro2::LineColumn;
use syn::{
    BinOp, Expr, ExprBinary, ExprMatch, ExprStruct, ExprUnary, ImplItemConst, ImplItemFn,
    ItemConst, ItemFn, ItemStatic, Pat,
    spanned::Spanned,
    visit::{self, Visit},
};

use crate::list::Place;

/// Where in a file a change can be decided when it runs.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// Expressions with an operator, by where the operator begins.
    pub(crate) operators: BTreeMap<usize, Range<usize>>,
    /// Struct expressions with a base.
    pub(crate) structs: Vec<Range<usize>>,
    /// Where the pattern of an arm without a guard ends, by where the arm begins.
    pub(crate) arms: BTreeMap<usize, usize>,
    /// What the compiler computes itself.
    pub(crate) constants: Vec<Range<usize>>,
}

impl Places {
    pub(crate) fn of(file: &str) -> Result<Self> {
        let parsed = syn::parse_file(file).context("the file cannot be parsed")?;
        let mut visitor = Visitor {
            file,
            places: Self::default(),
        };
        visitor.visit_file(&parsed);
        Ok(visitor.places)
    }
}

struct Visitor<'a> {
    file: &'a str,
    places: Places,
}

impl Visitor<'_> {
    fn offset(&self, at: LineColumn) -> usize {
        let place = Place {
            line: at.line,
            column: at.column + 1,
        };
        place.offset(self.file).unwrap_or_default()
    }

    fn range(&self, of: &impl Spanned) -> Range<usize> {
        let span = of.span();
        self.offset(span.start())..self.offset(span.end())
    }

    fn constant(&mut self, of: &impl Spanned) {
        let range = self.range(of);
        self.places.constants.push(range);
    }
}

impl<'ast> Visit<'ast> for Visitor<'_> {
    fn visit_expr_binary(&mut self, binary: &'ast ExprBinary) {
        // `a && let b = c` is no expression of its own.
        if !is_chain(binary) {
            let (operator, whole) = (self.range(&binary.op), self.range(binary));
            self.places.operators.insert(operator.start, whole);
        }
        visit::visit_expr_binary(self, binary);
    }

    fn visit_expr_unary(&mut self, unary: &'ast ExprUnary) {
        let (operator, whole) = (self.range(&unary.op), self.range(unary));
        self.places.operators.insert(operator.start, whole);
        visit::visit_expr_unary(self, unary);
    }

    fn visit_expr_struct(&mut self, structure: &'ast ExprStruct) {
        let whole = self.range(structure);
        self.places.structs.push(whole);
        visit::visit_expr_struct(self, structure);
    }

    fn visit_expr_match(&mut self, matching: &'ast ExprMatch) {
        for arm in &matching.arms {
            if arm.guard.is_none() && !matches!(arm.pat, Pat::Wild(_)) {
                let (whole, pattern) = (self.range(arm), self.range(&arm.pat));
                self.places.arms.insert(whole.start, pattern.end);
            }
        }
        visit::visit_expr_match(self, matching);
    }

    fn visit_item_const(&mut self, item: &'ast ItemConst) {
        self.constant(item);
    }

    fn visit_item_static(&mut self, item: &'ast ItemStatic) {
        self.constant(item);
    }

    fn visit_impl_item_const(&mut self, item: &'ast ImplItemConst) {
        self.constant(item);
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        if item.sig.constness.is_some() {
            self.constant(item);
        } else {
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        if item.sig.constness.is_some() {
            self.constant(item);
        } else {
            visit::visit_impl_item_fn(self, item);
        }
    }
}

fn is_chain(binary: &ExprBinary) -> bool {
    let has_let = |side: &Expr| {
        matches!(side, Expr::Let(_)) || matches!(side, Expr::Binary(inner) if is_chain(inner))
    };
    matches!(binary.op, BinOp::And(_)) && (has_let(&binary.left) || has_let(&binary.right))
}
