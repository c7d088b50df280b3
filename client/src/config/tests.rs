//! What a configuration file means.

use super::*;
use std::time::Duration;

fn parse_in(text: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
    let look_up = |name: &str| {
        environment.iter().find(|(known, _)| *known == name).map(|(_, value)| String::from(*value))
    };
    Config::parse(text, Path::new("config.toml"), &look_up).map_err(|error| error.to_string())
}

fn parse(text: &str) -> Config {
    parse_in(text, &[]).expect("a configuration")
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    let error = parse_in(text, &[]).expect_err("an error");
    assert!(error.contains(expected), "{error}");
}

#[test]
fn an_empty_file_asks_openai() {
    let config = parse("");
    let provider = config.provider(None).expect("a provider");
    assert_eq!(provider.base_url, "https://api.openai.com/v1");
    assert_eq!(provider.key, Key::Env("OPENAI_API_KEY".into()));
    assert!(provider.reasoning && provider.custom_tools && provider.stream && !provider.store);
    let limits = provider.timeouts;
    let seconds =
        [limits.connect, limits.first_byte, limits.idle].map(|limit| limit.map(|limit| limit.as_secs()));
    assert_eq!((seconds, provider.max_retries), ([Some(10), Some(120), Some(300)], 4));
    assert!(config.model(provider, None).is_ok());
}

#[test]
fn every_preset_is_there_and_local_ones_need_no_key() {
    let config = parse("");
    let local = ["llamacpp", "lmstudio", "ollama", "vllm"];
    for name in local {
        let provider = config.provider(Some(name)).expect(name);
        assert!(provider.is_loopback() && provider.key == Key::None, "{name}");
        assert!(!provider.reasoning && !provider.custom_tools, "{name}");
        assert_eq!(provider.timeouts.idle, None, "{name}");
    }
    assert_eq!(config.providers.len(), local.len() + 2);
}

#[test]
fn a_providers_table_changes_a_preset_field_by_field() {
    let config = parse(
        "provider = 'ollama'\n[providers.ollama]\nmodel = 'qwen'\nidle_timeout_seconds = 1.5\nheaders = { X-A = 'b' }",
    );
    let provider = config.provider(None).expect("a provider");
    assert_eq!(provider.base_url, "http://127.0.0.1:11434/v1");
    assert_eq!(provider.timeouts.idle, Some(Duration::from_millis(1500)));
    assert_eq!(provider.headers["X-A"], "b");
    assert_eq!(config.model(provider, None).expect("a model"), "qwen");
}

#[test]
fn the_environments_base_url_belongs_to_openai_and_turns_its_specialities_off() {
    let local = [("OPENAI_BASE_URL", "http://localhost:9/v1/")];
    let config = parse_in("", &local).expect("a configuration");
    let provider = &config.providers["openai"];
    assert_eq!(provider.base_url, "http://localhost:9/v1");
    assert!(provider.is_loopback() && !provider.reasoning && !provider.custom_tools);
    assert_eq!(config.providers["ollama"].base_url, "http://127.0.0.1:11434/v1");
    let insisting = parse_in("[providers.openai]\nreasoning = true", &local).expect("a configuration");
    assert!(insisting.providers["openai"].reasoning);
    let empty = parse_in("", &[("OPENAI_BASE_URL", "")]).expect("a configuration");
    assert_eq!(empty.providers["openai"].base_url, "https://api.openai.com/v1");
}

#[test]
fn the_model_is_the_given_the_configured_or_the_providers() {
    let config = parse("model = 'mine'");
    let model = |provider: &str, given| {
        config
            .model(config.provider(Some(provider)).expect("a provider"), given)
            .map_err(|error| error.to_string())
    };
    assert_eq!(model("openai", Some("given")), Ok("given".into()));
    assert_eq!(model("openai", None), Ok("mine".into()));
    assert_eq!(model("llamacpp", None), Ok("default".into()));
    assert!(model("ollama", None).expect_err("no model").contains("--model"));
}

#[test]
fn keys_come_from_the_environment_a_file_or_a_command() {
    let key = |written: &str| {
        let text = format!("[providers.x]\nbase_url = 'https://x/v1'\nkey = {written}");
        parse_in(&text, &[("HOME", "/home/me")]).map(|config| config.providers["x"].key.clone())
    };
    assert_eq!(key("{ env = 'X_KEY' }"), Ok(Key::Env("X_KEY".into())));
    assert_eq!(key("{ file = '~/key' }"), Ok(Key::File("/home/me/key".into())));
    assert_eq!(key("{ command = ['pass', 'x'] }"), Ok(Key::Command(vec!["pass".into(), "x".into()])));
    assert!(key("{ command = [] }").is_err());
    assert!(key("{ env = '' }").is_err());
    assert!(key("'sk-secret'").is_err());
}

#[test]
fn mistakes_are_named() {
    refused("modle = 'x'", "modle");
    refused("[providers.openai]\nbase_ulr = 'x'", "base_ulr");
    refused("model = 'm'\nprovider = 'nobody'", "line 2, provider: there is no provider `nobody`");
    refused("\n[providers.x]", "line 2, providers.x.base_url: it is missing");
    refused(
        "[providers.x]\nbase_url = 'api.x.com'",
        "line 2, providers.x.base_url: base_url must begin with http",
    );
    refused("[providers.vllm]\n\nkey = { command = [] }", "line 3, providers.vllm.key: command is empty");
    refused("[providers.vllm]\ncontext_tokens = 100", "line 2, providers.vllm.context_tokens: 100 tokens");
    refused("[providers.x]\nbase_url = 'http://me:pw@x'", "no credentials");
    refused("[providers.x]\nbase_url = 'http://x'\nidle_timeout_seconds = -1", "cannot be");
    refused("approve = 'maybe'", "approve");
    refused("max_steps = 'many'", "line 1");
}

#[test]
fn a_conversation_is_made_shorter_below_the_models_context() {
    let tokens =
        |written: &str| parse(&format!("[providers.vllm]\n{written}")).providers["vllm"].compact_at_tokens;
    assert_eq!(tokens(""), 160_000);
    assert_eq!(tokens("context_tokens = 10000"), 8_000);
    assert_eq!(tokens("context_tokens = 10000\ncompact_at_tokens = 5000"), 5_000);
    assert_eq!(tokens("compact_at_tokens = 5000"), 5_000);
}

#[test]
fn every_block_of_the_documentation_is_a_configuration_and_every_field_is_documented() {
    let page = include_str!("../../../docs/providers.md");
    let blocks: Vec<&str> =
        page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let named: Vec<String> = blocks.iter().map(|block| parse(block).provider).collect();
    assert_eq!(named, ["openai", "openrouter", "ollama", "vllm", "llamacpp", "lmstudio", "mine"]);
    for block in &blocks {
        let config = parse(block);
        let provider = config.provider(None).expect("a provider");
        assert!(config.model(provider, None).is_ok(), "{block}");
        assert_eq!(config.warnings(), Vec::<String>::new(), "{block}");
    }
    let presets = include_str!("providers.toml");
    let listed = presets.lines().filter_map(|line| line.strip_prefix("#   ")).flat_map(|line| {
        let names = line.split("    ").next().unwrap_or_default();
        names.split(", ").map(|name| name.split_whitespace().next().unwrap_or_default())
    });
    for field in listed {
        assert!(page.contains(&format!("| `{field}` |")), "docs/providers.md does not tell of {field}");
    }
}

#[test]
fn the_daemons_table_is_passed_over() {
    assert_eq!(parse("[daemon]\nanything = 1"), parse(""));
}

#[test]
fn what_is_shown_reads_back_as_the_same_and_hides_headers() {
    let config =
        parse("model = 'm'\napprove = 'deny'\non_event = ['notify']\n[providers.vllm]\nmax_retries = 1");
    assert_eq!(parse(&config.show()), config);
    let secret = parse("[providers.openai]\nheaders = { X-Key = 'hush' }").show();
    assert!(secret.contains("X-Key") && !secret.contains("hush"), "{secret}");
}

#[test]
fn loopback_is_recognised_in_every_spelling() {
    let check =
        |url: &str, expected: bool| assert_eq!(Provider::at("x", url).is_loopback(), expected, "{url}");
    check("http://127.0.0.1:1/v1", true);
    check("http://127.9.9.9", true);
    check("http://localhost:11434/v1", true);
    check("http://[::1]:8080/v1", true);
    check("https://localhost.example.com/v1", false);
    check("http://10.0.0.1/v1", false);
    check("http://127.0.0.1.example.com", false);
    check("ftp://127.0.0.1", false);
}

#[test]
fn only_openais_own_servers_are_taken_for_openai() {
    let check =
        |url: &str, expected: bool| assert_eq!(Provider::at("x", url).custom_tools, expected, "{url}");
    check("https://api.openai.com/v1", true);
    check("https://eu.api.openai.com/v1", true);
    check("https://mine.openai.azure.com/openai/v1", true);
    check("https://api.openai.com.example.com/v1", false);
    check("https://notapi.openai.com/v1", false);
    check("https://openrouter.ai/api/v1", false);
}

#[test]
fn what_is_perhaps_not_meant_is_warned_of() {
    let text = "provider = 'x'\n[providers.x]\nbase_url = 'http://gpu-box/v1'\nkey = { env = 'K' }";
    let warnings = parse(text).warnings();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert_eq!(parse("").warnings(), Vec::<String>::new());
}

#[test]
fn the_file_lies_where_xdg_says() {
    let path = |environment: &[(&str, &str)]| {
        default_path(&|name| {
            environment.iter().find(|(known, _)| *known == name).map(|(_, value)| String::from(*value))
        })
    };
    assert_eq!(path(&[("XDG_CONFIG_HOME", "/c"), ("HOME", "/h")]), Some("/c/dunlin/config.toml".into()));
    assert_eq!(path(&[("HOME", "/h")]), Some("/h/.config/dunlin/config.toml".into()));
    assert_eq!(path(&[("XDG_CONFIG_HOME", "relative")]), None);
}
