//! Section `[secrets]`: which files and variables of this machine a connection string may name.

use toml::de::DeValue;

use crate::providers::SecretSources;

/// Sets one field.
///
/// # Errors
/// What is wrong with it.
pub(super) fn set(
    secrets: &mut SecretSources,
    name: &str,
    value: &DeValue<'_>,
) -> Result<(), String> {
    match name {
        "folders" => {
            let folders = strings(value, FOLDERS, |text| text.starts_with('/'))?;
            secrets.folders = folders.into_iter().map(Into::into).collect();
        }
        "environment" => {
            let name = |text: &str| {
                let name = text.strip_suffix('*').unwrap_or(text);
                !text.is_empty() && !name.contains(['*', '=', '\0'])
            };
            secrets.environment = strings(value, VARIABLES, name)?;
        }
        _ => {
            return Err(format!(
                "unknown field; allowed in [{SECTION}]: folders, environment"
            ));
        }
    }
    Ok(())
}

fn strings(
    value: &DeValue<'_>,
    allowed: &str,
    fits: impl Fn(&str) -> bool,
) -> Result<Vec<String>, String> {
    let list = value
        .as_array()
        .ok_or_else(|| format!("found {}; allowed: {allowed}", value.type_str()))?;
    let text = |item: &DeValue<'_>| match item.as_str() {
        Some(text) if fits(text) => Ok(text.to_owned()),
        Some(text) => Err(format!("{text:?} is not; allowed: {allowed}")),
        None => Err(format!("found {}; allowed: {allowed}", item.type_str())),
    };
    list.iter().map(|item| text(item.get_ref())).collect()
}

pub(super) const SECTION: &str = "secrets";
const FOLDERS: &str = "a list of folders, each from '/' on";
const VARIABLES: &str = "a list of names of variables; '*' at the end of one stands for anything";
