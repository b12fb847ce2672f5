//! The documents against the code: links and paths exist, commands parse, tables list what the code has,
//! and the timeline says what the steps say.

#[path = "documents/commands.rs"]
mod commands;
#[path = "documents/links.rs"]
mod links;
#[path = "documents/markdown.rs"]
mod markdown;
#[path = "documents/tables.rs"]
mod tables;
#[path = "documents/timeline.rs"]
mod timeline;
