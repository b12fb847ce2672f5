//! The settings file: every value optional, every fault reported at once with its line.

mod secrets;

use std::{fmt, ops::RangeInclusive, path::Path, time::Duration};

use anyhow::{Context as _, anyhow};
use toml::de::{DeTable, DeValue};

use crate::{alarms::AlarmSettings, providers::SecretSources};

/// What an operator can set.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Settings {
    pub(crate) engine: pointsman_cutover::Settings,
    pub(crate) alarms: AlarmSettings,
    /// What connection strings may name.
    pub(crate) secrets: SecretSources,
}

impl Settings {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// All faults of the file, one a line, each with line, field and what is allowed.
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        let origin = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the settings file {origin}"))?;
        Self::parse(&text).map_err(|faults| {
            let lines: Vec<_> = faults
                .iter()
                .map(|fault| format!("{origin}:{fault}"))
                .collect();
            anyhow!("the settings are refused\n{}", lines.join("\n"))
        })
    }

    fn parse(text: &str) -> Result<Self, Vec<Fault>> {
        let line = |offset: usize| text[..offset].matches('\n').count() + 1;
        let table = DeTable::parse(text).map_err(|error| {
            vec![Fault {
                line: error.span().map_or(1, |span| line(span.start)),
                message: format!("this is not TOML: {}", error.message()),
            }]
        })?;
        let mut settings = Self::default();
        let mut faults = Vec::new();
        for (section, value) in table.get_ref() {
            let mut fault = |offset, message| {
                faults.push(Fault {
                    line: line(offset),
                    message,
                });
            };
            let name = section.get_ref().as_ref();
            if name != secrets::SECTION && !FIELDS.iter().any(|field| field.section == name) {
                fault(
                    section.span().start,
                    format!("{name}: unknown section; allowed: {}", sections()),
                );
                continue;
            }
            let Some(fields) = value.get_ref().as_table() else {
                let found = value.get_ref().type_str();
                let message = format!("{name}: found {found}; allowed: a table, [{name}]");
                fault(value.span().start, message);
                continue;
            };
            for (key, value) in fields {
                let (key_text, value) = (key.get_ref(), value.get_ref());
                let set = match name {
                    secrets::SECTION => secrets::set(&mut settings.secrets, key_text, value),
                    _ => settings.set(name, key_text, value),
                };
                if let Err(message) = set {
                    fault(key.span().start, format!("{name}.{key_text}: {message}"));
                }
            }
        }
        faults.sort_by_key(|fault| fault.line);
        if faults.is_empty() {
            Ok(settings)
        } else {
            Err(faults)
        }
    }

    fn set(&mut self, section: &str, name: &str, value: &DeValue<'_>) -> Result<(), String> {
        let mut known = FIELDS.iter().filter(|field| field.section == section);
        let Some(field) = known.clone().find(|field| field.name == name) else {
            let names: Vec<_> = known.by_ref().map(|field| field.name).collect();
            return Err(format!(
                "unknown field; allowed in [{section}]: {}",
                names.join(", ")
            ));
        };
        let allowed = format!(
            "allowed: a whole number from {} to {} ({})",
            field.range.start(),
            field.range.end(),
            field.about
        );
        let Some(integer) = value.as_integer() else {
            return Err(format!("found {}; {allowed}", value.type_str()));
        };
        match u64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if field.range.contains(&number) => {
                (field.apply)(self, number);
                Ok(())
            }
            _ => Err(format!("{} is out of range; {allowed}", integer.as_str())),
        }
    }
}

/// One thing wrong with the file.
#[derive(Debug, Eq, PartialEq)]
struct Fault {
    line: usize,
    message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.message)
    }
}

struct Field {
    section: &'static str,
    name: &'static str,
    about: &'static str,
    range: RangeInclusive<u64>,
    apply: fn(&mut Settings, u64),
}

fn sections() -> String {
    let mut names: Vec<_> = FIELDS
        .iter()
        .map(|field| format!("[{}]", field.section))
        .collect();
    names.dedup();
    names.push(format!("[{}]", secrets::SECTION));
    names.join(", ")
}

fn ms(number: u64) -> Duration {
    Duration::from_millis(number)
}

const FIELDS: &[Field] = &[
    Field {
        section: "hold",
        name: "budget_ms",
        about: "how long new connections are parked at most, in milliseconds",
        // Sidecars' listeners retry for 30 s; clients' own timeouts lie there, too.
        range: 500..=30_000,
        apply: |settings, number| settings.engine.hold_budget = ms(number),
    },
    Field {
        section: "hold",
        name: "settle_ms",
        about: "from the fleet's acknowledgement of a hold to the fence, in milliseconds",
        range: 0..=5_000,
        apply: |settings, number| settings.engine.settle = ms(number),
    },
    Field {
        section: "hold",
        name: "login_ms",
        about: "how long logins that are under way are waited for, in milliseconds",
        range: 0..=10_000,
        apply: |settings, number| settings.engine.login = ms(number),
    },
    Field {
        section: "hold",
        name: "quiet_ms",
        about: "how long sessions younger than the hold may end by themselves, in milliseconds",
        range: 0..=5_000,
        apply: |settings, number| settings.engine.quiet = ms(number),
    },
    Field {
        section: "barrier",
        name: "deadline_ms",
        about: "how long the fleet may take to acknowledge, in milliseconds",
        range: 50..=30_000,
        apply: |settings, number| settings.engine.barrier_deadline = ms(number),
    },
    Field {
        section: "switch",
        name: "catch_up_ms",
        about: "how long the new writer may take to receive the last write, in milliseconds",
        range: 50..=30_000,
        apply: |settings, number| settings.engine.catch_up = Some(ms(number)),
    },
    Field {
        section: "switch",
        name: "promote_ms",
        about: "how long a promotion may take, in milliseconds",
        range: 100..=60_000,
        apply: |settings, number| settings.engine.promote = Some(ms(number)),
    },
    Field {
        section: "switch",
        name: "rollback_wait_ms",
        about: "how long a rollback waits for the reverse stream, in milliseconds",
        range: 1_000..=86_400_000,
        apply: |settings, number| settings.engine.rollback_wait = ms(number),
    },
    Field {
        section: "alarm",
        name: "interval_ms",
        about: "between two write probes of a database, in milliseconds",
        range: 20..=60_000,
        apply: |settings, number| settings.alarms.probe.interval = ms(number),
    },
    Field {
        section: "alarm",
        name: "failures",
        about: "consecutive failed write probes that raise the alarm",
        range: 1..=1_000,
        apply: |settings, number| {
            settings.alarms.probe.failures = u32::try_from(number).unwrap_or(u32::MAX);
        },
    },
    Field {
        section: "alarm",
        name: "timeout_ms",
        about: "how long one write probe may take, in milliseconds",
        range: 50..=60_000,
        apply: |settings, number| settings.alarms.probe.timeout = ms(number),
    },
    Field {
        section: "alarm",
        name: "first_write_ms",
        about: "how long the first write probe of a bake may take to succeed, in milliseconds",
        range: 1_000..=600_000,
        apply: |settings, number| settings.alarms.probe.first_write = ms(number),
    },
    Field {
        section: "alarm",
        name: "connect_failures",
        about: "failed connects in a second from which a sidecar counts as failing",
        range: 1..=100_000,
        apply: |settings, number| {
            settings.alarms.connect_failures.per_second = u32::try_from(number).unwrap_or(u32::MAX);
        },
    },
    Field {
        section: "alarm",
        name: "failing_percent",
        about: "how many of the sidecars must fail at once to raise the alarm, in percent",
        range: 1..=100,
        apply: |settings, number| {
            settings.alarms.connect_failures.percent = u32::try_from(number).unwrap_or(u32::MAX);
        },
    },
    Field {
        section: "alarm",
        name: "failing_ms",
        about: "how long they must fail without a pause, in milliseconds",
        range: 1_000..=600_000,
        apply: |settings, number| settings.alarms.connect_failures.lasting = ms(number),
    },
    Field {
        section: "slots",
        name: "warn_mib",
        about: "how much WAL the reverse stream may keep on the target before status says so, in MiB",
        range: 16..=1_048_576,
        apply: |settings, number| settings.engine.slots_warn = number << 20,
    },
    Field {
        section: "slots",
        name: "drop_mib",
        about: "how much WAL the reverse stream may keep on the target before it is given up, in MiB",
        range: 16..=1_048_576,
        apply: |settings, number| settings.engine.slots_drop = number << 20,
    },
];

#[cfg(test)]
mod tests {
    use pointsman_cutover::ports::Budgets;

    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let faults = Settings::parse(text).unwrap_err();
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        assert_eq!(Settings::parse("").unwrap(), Settings::default());
    }

    #[test]
    fn every_field_reaches_its_place() {
        let text = "[hold]\nbudget_ms = 8000\nsettle_ms = 50\nlogin_ms = 900\nquiet_ms = 200\n\
                    [barrier]\ndeadline_ms = 1500\n[switch]\ncatch_up_ms = 2500\n\
                    promote_ms = 4000\n[alarm]\ninterval_ms = 100\nfailures = 5\n\
                    timeout_ms = 700\nfirst_write_ms = 3000\nconnect_failures = 9\nfailing_percent = 50\n\
                    failing_ms = 7000\n[slots]\nwarn_mib = 100\ndrop_mib = 200\n";
        let settings = Settings::parse(text).unwrap();
        assert_eq!(settings.engine.hold_budget, ms(8000));
        assert_eq!(settings.engine.settle, ms(50));
        assert_eq!(settings.engine.login, ms(900));
        assert_eq!(settings.engine.quiet, ms(200));
        assert_eq!(settings.engine.barrier_deadline, ms(1500));
        assert_eq!(settings.engine.catch_up, Some(ms(2500)));
        assert_eq!(settings.engine.promote, Some(ms(4000)));
        assert_eq!(settings.alarms.probe.interval, ms(100));
        assert_eq!(settings.alarms.probe.failures, 5);
        assert_eq!(settings.alarms.probe.timeout, ms(700));
        assert_eq!(settings.alarms.probe.first_write, ms(3000));
        let sidecars = settings.alarms.connect_failures;
        assert_eq!((sidecars.per_second, sidecars.percent), (9, 50));
        assert_eq!(sidecars.lasting, ms(7000));
        assert_eq!(settings.engine.slots_warn, 100 << 20);
        assert_eq!(settings.engine.slots_drop, 200 << 20);
    }

    #[test]
    fn every_fault_is_reported_with_line_field_and_what_is_allowed() {
        let text = "[hold]\nbudget = 1\nsettle_ms = \"soon\"\n\n[barier]\ndeadline_ms = 1\n\
                    [switch]\ncatch_up_ms = 999999\n";
        assert_eq!(
            faults(text),
            [
                "2: hold.budget: unknown field; allowed in [hold]: budget_ms, settle_ms, login_ms, \
                 quiet_ms",
                "3: hold.settle_ms: found string; allowed: a whole number from 0 to 5000 (from \
                 the fleet's acknowledgement of a hold to the fence, in milliseconds)",
                "5: barier: unknown section; allowed: [hold], [barrier], [switch], [alarm], \
                 [slots], [secrets]",
                "8: switch.catch_up_ms: 999999 is out of range; allowed: a whole number from 50 \
                 to 30000 (how long the new writer may take to receive the last write, in \
                 milliseconds)",
            ]
        );
    }

    #[test]
    fn what_connection_strings_may_name_is_a_list_of_folders_and_one_of_variables() {
        let text = "[secrets]\nfolders = [\"/etc/pointsman\"]\nenvironment = [\"PG_*\"]\n";
        let secrets = Settings::parse(text).unwrap().secrets;
        assert_eq!(secrets.folders, [Path::new("/etc/pointsman")]);
        assert_eq!(secrets.environment, ["PG_*"]);
        assert_eq!(Settings::default().secrets, SecretSources::default());
        let text = "[secrets]\nfolders = [\"etc\"]\nfiles = []\nenvironment = [\"A=B\", 1]\n";
        let found = faults(text);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found[0].contains("secrets.folders: \"etc\" is not"),
            "{found:?}"
        );
        assert!(
            found[1].contains("allowed in [secrets]: folders, environment"),
            "{found:?}"
        );
    }

    #[test]
    fn broken_toml_is_named_with_its_line() {
        let found = faults("[hold]\nbudget_ms = \n");
        assert!(found[0].starts_with("2: this is not TOML: "), "{found:?}");
    }

    /// With what a server that is reached by SQL may take where nothing is set.
    fn for_sql(settings: Settings) -> Settings {
        let Budgets {
            catch_up, promote, ..
        } = Budgets::BY_SQL.or_as_set(&settings.engine);
        Settings {
            engine: pointsman_cutover::Settings {
                catch_up: Some(catch_up),
                promote: Some(promote),
                ..settings.engine
            },
            ..settings
        }
    }

    #[test]
    fn the_operators_page_lists_every_field_with_its_default_and_its_range() {
        let page = include_str!("../../docs/operations.md");
        let rows = page.lines().filter_map(|line| {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            let &["", _, name, default, range, _, ""] = cells.as_slice() else {
                return None;
            };
            Some((name.trim_matches('`'), default.parse().ok()?, range))
        });
        let rows: Vec<(_, u64, _)> = rows.collect();
        assert_eq!(rows.len(), FIELDS.len(), "{rows:?}");
        for (field, (name, default, range)) in FIELDS.iter().zip(rows) {
            assert_eq!(name, field.name);
            assert_eq!(
                range,
                format!("{}–{}", field.range.start(), field.range.end()),
                "{name}"
            );
            let mut settings = Settings::default();
            (field.apply)(&mut settings, default);
            assert_eq!(
                for_sql(settings),
                for_sql(Settings::default()),
                "{name} is not {default} by default"
            );
        }
    }
}
