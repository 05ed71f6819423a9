//! How payment calls the bank: configuration, which may change while it runs.

use bowline::policy::RetryPolicy;
use serde::Deserialize;

/// How payment calls the bank; `config/payment.schema.json` says the same.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BankCalls {
    /// When a failed attempt is tried again; absent: never.
    #[serde(default)]
    pub(crate) retry: Option<RetryPolicy>,
}

#[cfg(test)]
mod tests {
    use bowline::policy::{ATTEMPTS_MAX, CallPolicy};

    use super::*;

    /// As the service reads and checks a document.
    fn read(document: &str) -> Result<BankCalls, String> {
        let calls: BankCalls = toml::from_str(document).map_err(|error| error.to_string())?;
        let policy = CallPolicy { retry: calls.retry.clone(), ..CallPolicy::default() };
        policy.check().map_err(|error| error.to_string()).map(|()| calls)
    }

    #[test]
    fn bad_documents_are_refused_by_name() {
        let good = "[retry]\nattempts_max = 3\nbackoff = \"20ms..300ms\"\nbudget = \"20%\"\n";
        assert_eq!(read(good).unwrap().retry.unwrap().attempts_max, 3);
        assert_eq!(read("").unwrap(), BankCalls { retry: None });
        read(&format!("{good}per_try_timeout = \"1s\"")).unwrap();
        for (bad, name) in [
            (good.replace("= 3", "= 0"), "attempts_max"),
            (good.replace("= 3", "= 11"), "attempts_max"),
            (good.replace("20ms", "2s"), "the least"),
            (good.replace("20%", "120%"), "percentage"),
            (good.replace("budget", "budgets"), "budgets"),
            (good.replace("[retry]", "[retries]"), "retries"),
            (format!("{good}per_try_timeout = \"0s\""), "per_try_timeout"),
            (format!("{good}per_try_timeout = \"16s\""), "per_try_timeout"),
            (format!("{good}per_try_timeout = 1"), "string"),
        ] {
            let error = read(&bad).unwrap_err();
            assert!(error.contains(name), "{bad}: {error}");
        }
    }

    #[test]
    fn the_document_of_the_example_is_good_and_as_its_system_declares() {
        let document = read(include_str!("../../config/payment.toml")).unwrap();
        let system: toml::Table = toml::from_str(include_str!("../../bowline.toml")).unwrap();
        let declared = system["service"]["payment"]["calls"]["bank"]["retry"].clone();
        assert_eq!(document.retry.unwrap(), declared.try_into::<RetryPolicy>().unwrap());
    }

    #[test]
    fn the_schema_has_the_same_words() {
        let schema: serde_json::Value = serde_json::from_str(include_str!("../../config/payment.schema.json")).unwrap();
        let retry = &schema["properties"]["retry"];
        assert_eq!((&schema["additionalProperties"], &retry["additionalProperties"]), (&false.into(), &false.into()));
        let mut names: Vec<_> = retry["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["attempts_max", "backoff", "budget", "per_try_timeout"]);
        assert_eq!(retry["properties"]["attempts_max"]["maximum"], ATTEMPTS_MAX);
    }
}
