//! A project's own profile counts only while it is what a person trusted; no command and no model brings that about.

use dunlin_harness::{World, world::binary};
use serde_json::json;

use crate::work::{exec, inside, worlds};

const PROFILE: &str = "extends = \"workspace-write\"\n\n[env.set]\nGREETING = \"trusted\"\n";

fn greeting(world: &World) -> (String, String) {
    let done = inside(world, "echo \"[$GREETING]\"").expect(0);
    (done.out(), done.err())
}

fn standing(world: &World) -> serde_json::Value {
    let listed = world.dunlin(&["profiles", "list", "--json"]).expect(0).json();
    let all = listed.as_array().expect("an array").clone();
    all.into_iter()
        .find(|profile| profile["name"] == "project")
        .map_or(json!(null), |own| own["standing"].clone())
}

#[test]
fn a_projects_profile_is_the_default_exactly_while_it_is_what_was_trusted() {
    for world in worlds() {
        assert_eq!(standing(&world), json!(null));
        let file = world.workspace().join(".dunlin/profile.toml");
        world.write(&file, PROFILE);
        let (out, err) = greeting(&world);
        assert_eq!(out, "[]\n");
        for part in ["is not trusted", "env.set.GREETING", "dunlin profiles trust"] {
            assert!(err.contains(part), "{part}: {err}");
        }
        assert_eq!(standing(&world), "untrusted");
        let refused = world.dunlin(&["run", "-p", "project", "--", "true"]).expect(125);
        assert!(refused.err().contains("is not trusted"), "{}", refused.err());
        let trusted = world.dunlin(&["profiles", "trust"]).expect(0);
        assert_eq!(trusted.out(), PROFILE, "what is trusted is shown");
        assert_eq!(
            (standing(&world), greeting(&world)),
            (json!("trusted"), ("[trusted]\n".into(), String::new()))
        );
        let result = exec(&world, &json!({"input": ["sh", "-c", "echo $GREETING"]}));
        assert_eq!(
            (&result["stdout"], &result["sandbox"]["profile"]),
            (&json!("trusted\n"), &json!("project"))
        );
        let shown = world.dunlin(&["profiles", "show", "project", "--resolved"]).expect(0).out();
        assert!(shown.contains("GREETING = \"trusted\""), "{shown}");
        assert_eq!(
            world.dunlin(&["run", "-p", "workspace-write", "--", "sh", "-c", "echo $GREETING"]).out(),
            "\n"
        );

        world.write(&file, &format!("{PROFILE}MORE = \"x\"\n"));
        let (out, err) = greeting(&world);
        assert!(out == "[]\n" && err.contains("changed since it was trusted"), "{out}{err}");
        assert_eq!(standing(&world), "changed");
        world.write(&file, PROFILE);
        assert_eq!(greeting(&world).0, "[trusted]\n");

        let listed = world.dunlin(&["profiles", "trust", "--list", "--json"]).expect(0).json();
        assert_eq!(
            (&listed[0]["workspace"], &listed[0]["standing"]),
            (&json!(world.workspace()), &json!("trusted"))
        );
        world.dunlin(&["profiles", "trust", "--remove"]).expect(0);
        assert_eq!((standing(&world), greeting(&world).0), (json!("untrusted"), "[]\n".into()));
        world.dunlin(&["profiles", "trust", "--remove"]).expect(1);
    }
}

#[test]
fn commands_neither_change_nor_move_what_is_there_and_what_they_make_counts_for_nothing() {
    for world in worlds() {
        inside(&world, "mkdir .dunlin && printf '[env.set]\\nGREETING = \"mine\"\\n' > .dunlin/profile.toml")
            .expect(0);
        let (out, err) = greeting(&world);
        assert!(out == "[]\n" && err.contains("is not trusted"), "{out}{err}");
        let file = world.workspace().join(".dunlin/profile.toml");
        world.write(&file, PROFILE);
        world.dunlin(&["profiles", "trust"]).expect(0);
        for line in [
            "echo more >> .dunlin/profile.toml",
            "rm .dunlin/profile.toml",
            "mv .dunlin gone",
            "echo x > .dunlin/other",
            "ln -sf /etc/passwd .dunlin/profile.toml",
        ] {
            assert_ne!(inside(&world, line).code(), 0, "{line}");
        }
        let patch =
            json!({"input": "*** Begin Patch\n*** Delete File: .dunlin/profile.toml\n*** End Patch\n"});
        assert_eq!(world.dunlin(&["tool", "apply_patch", &patch.to_string()]).json()["exit_code"], 1);
        assert_eq!(std::fs::read_to_string(&file).expect("the profile"), PROFILE);
        // The daemon is out of reach inside; where it is not, the client refuses.
        let client = binary("dunlin-under-test").display().to_string();
        let line = format!("{client} profiles trust");
        assert_ne!(inside(&world, &line).code(), 0);
        let unconfined = world.dunlin(&["run", "-p", "unconfined", "--", "sh", "-c", &line]);
        assert!(unconfined.err().contains("cannot decide what is trusted"), "{}", unconfined.err());
    }
}

#[test]
fn what_is_wrong_with_a_projects_profile_is_said_and_is_not_trusted() {
    for world in worlds() {
        let file = world.workspace().join(".dunlin/profile.toml");
        for (text, part) in [
            ("isolation = \"none\"\n", "a project may not ask to run without a sandbox"),
            ("[fs]\nwrit = []\n", "unknown key `writ`"),
            ("extends = \"nothing\"\n", "no profile is called `nothing`"),
        ] {
            world.write(&file, text);
            let refused = world.dunlin(&["profiles", "trust"]).expect(2);
            assert!(refused.err().contains(part), "{text}: {}", refused.err());
            assert!(greeting(&world).1.contains("it would be refused"), "{text}");
        }
        std::fs::remove_file(&file).expect("it is there");
        std::os::unix::fs::symlink("/etc/passwd", &file).expect("a link");
        let refused = world.dunlin(&["profiles", "trust"]).expect(2);
        assert!(refused.err().contains("is a link"), "{}", refused.err());
        assert_eq!(standing(&world), "refused");
        assert!(greeting(&world).1.contains("is a link"));
    }
}
