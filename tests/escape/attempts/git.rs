//! Code that the host runs later, planted in a repository. Each is seen by what the host's own git does then.

use crate::attempt::Attempt;

const STATUS: &str = "git -c safe.directory='*' -C workspace status > /dev/null; test -e outside/pwned";
const COMMIT: &str = "git -c safe.directory='*' -C workspace commit -q --allow-empty -m later > /dev/null; test -e outside/pwned";

pub const ATTEMPTS: &[Attempt] = &[
    Attempt::shell(
        "plant a hook",
        r#"printf '#!/bin/sh\ntouch %s/pwned\n' $out > .git/hooks/pre-commit; chmod +x .git/hooks/pre-commit"#,
    )
    .seen_by(COMMIT),
    Attempt::shell(
        "plant a hook where there is no directory for hooks",
        r#"mkdir .git/hooks; printf '#!/bin/sh\ntouch %s/pwned\n' $out > .git/hooks/pre-commit; chmod +x .git/hooks/pre-commit"#,
    )
    .before("rm -rf .git/hooks")
    .seen_by(COMMIT),
    Attempt::shell(
        "replace the directory of hooks by a link",
        r#"mkdir evil; printf '#!/bin/sh\ntouch %s/pwned\n' $out > evil/pre-commit; chmod +x evil/pre-commit
rm -rf .git/hooks; mv .git/hooks .git/old; ln -s ../evil .git/hooks"#,
    )
    .seen_by(COMMIT),
    Attempt::shell(
        "configure a monitor of files",
        r#"printf '#!/bin/sh\ntouch %s/pwned\n' $out > evil; chmod +x evil; git config core.fsmonitor $PWD/evil
printf '[core]\nfsmonitor = %s/evil\n' $PWD >> .git/config"#,
    )
    .seen_by(STATUS),
    Attempt::shell(
        "replace the configuration by another file",
        r#"printf '#!/bin/sh\ntouch %s/pwned\n' $out > evil; chmod +x evil
{ cat .git/config; printf '[core]\nfsmonitor = %s/evil\n' $PWD; } > .git/new; mv -f .git/new .git/config"#,
    )
    .seen_by(STATUS),
    Attempt::shell(
        "configure another directory for hooks",
        r#"mkdir evil; printf '#!/bin/sh\ntouch %s/pwned\n' $out > evil/pre-commit; chmod +x evil/pre-commit
git config core.hooksPath evil; printf '[core]\nhooksPath = evil\n' >> .git/config"#,
    )
    .seen_by(COMMIT),
    Attempt::shell(
        "configure a program that speaks ssh",
        r#"printf '#!/bin/sh\ntouch %s/pwned\n' $out > evil; chmod +x evil
printf '[core]\nsshCommand = %s/evil\n' $PWD >> .git/config"#,
    )
    .seen_by("git -c safe.directory='*' -C workspace ls-remote ssh://127.0.0.1:9/x; test -e outside/pwned"),
    Attempt::shell(
        "configure a filter of contents",
        r#"printf '#!/bin/sh\ntouch %s/pwned\n' $out > evil; chmod +x evil
printf '[filter "x"]\nclean = %s/evil\n' $PWD >> .git/config; echo '* filter=x' > .gitattributes; echo more >> README"#,
    )
    .seen_by("git -c safe.directory='*' -C workspace add README; test -e outside/pwned"),
    Attempt::shell(
        "configure an alias",
        r#"printf '#!/bin/sh\ntouch %s/pwned\n' $out > evil; chmod +x evil
printf '[alias]\nst = !%s/evil\n' $PWD >> .git/config"#,
    )
    .seen_by("git -c safe.directory='*' -C workspace st; test -e outside/pwned"),
    Attempt::python(
        "open the configuration for writing by a descriptor of it",
        "read, found = os.open('.git/config', os.O_RDONLY), os.open('.git/config', os.O_PATH)
for name in (f'/proc/self/fd/{read}', f'/proc/thread-self/fd/{found}', f'/dev/fd/{read}', '/proc/self/cwd/.git/config'):
    if allowed(lambda: os.close(os.open(name, os.O_WRONLY))): got()
if allowed(lambda: os.truncate(f'/proc/self/fd/{found}', os.stat('.git/config').st_size)): got()",
    ),
    Attempt::shell(
        "plant a hook where the configuration looks for them",
        r#"printf '#!/bin/sh\ntouch %s/pwned\n' $out > myhooks/pre-commit; chmod +x myhooks/pre-commit"#,
    )
    .before("mkdir myhooks && git config core.hooksPath myhooks")
    .seen_by(COMMIT),
    Attempt::shell(
        "write a file that the configuration includes",
        r#"printf '#!/bin/sh\ntouch %s/pwned\n' $out > evil; chmod +x evil
printf '[core]\nfsmonitor = %s/evil\n' $PWD >> included"#,
    )
    .before("echo > included && git config include.path ../included")
    .seen_by(STATUS),
    Attempt::shell(
        "write a file that the configuration includes and that is not there yet",
        r#"printf '#!/bin/sh\ntouch %s/pwned\n' $out > evil; chmod +x evil
printf '[core]\nfsmonitor = %s/evil\n' $PWD >> included"#,
    )
    .before("git config include.path ../included")
    .seen_by(STATUS),
    Attempt::shell(
        "replace a link that leads to a file the configuration includes",
        r#"printf '#!/bin/sh\ntouch %s/pwned\n' $out > evil; chmod +x evil
rm -f link; printf '[core]\nfsmonitor = %s/evil\n' $PWD > link"#,
    )
    .before("echo > included && ln -s included link && git config include.path ../link")
    .or_refused("it is a symbolic link")
    .seen_by(STATUS),
    Attempt::shell(
        "write a file that an included file includes",
        r#"printf '#!/bin/sh\ntouch %s/pwned\n' $out > evil; chmod +x evil
printf '[core]\nfsmonitor = %s/evil\n' $PWD > second"#,
    )
    .before("printf '[include]\npath = second\n' > first && echo > second && git config include.path ../first")
    .seen_by(STATUS),
    Attempt::shell(
        "write a file that the configuration includes behind a mebibyte of comments",
        r#"printf '#!/bin/sh\ntouch %s/pwned\n' $out > evil; chmod +x evil
printf '[core]\nfsmonitor = %s/evil\n' $PWD >> included"#,
    )
    .before("echo > included && yes '# a line of a comment' | head -n 60000 >> .git/config && printf '[include]\npath = ../included\n' >> .git/config")
    .or_refused("it is longer than 1 MiB")
    .seen_by(STATUS),
    Attempt::shell(
        "write a file that is included below a comment that ends in a backslash",
        r#"printf '#!/bin/sh\ntouch %s/pwned\n' $out > evil; chmod +x evil
printf '[core]\nfsmonitor = %s/evil\n' $PWD >> included"#,
    )
    .before("echo > included && printf '# a comment \\134\n[include]\npath = ../included\n' >> .git/config")
    .seen_by(STATUS),
    Attempt::shell(
        "write a file that the configuration of a submodule includes",
        r#"printf '#!/bin/sh\ntouch %s/pwned\n' $out > evil; chmod +x evil
printf '[core]\nfsmonitor = %s/evil\n' $PWD >> included"#,
    )
    .before(SUBMODULE_THAT_INCLUDES)
    .seen_by(STATUS_OF_PART),
    Attempt::shell(
        "plant a hook where the configuration looks for them by way of a link",
        r#"printf '#!/bin/sh\ntouch %s/pwned\n' $out > evil; chmod +x evil
rm -f link; mkdir link; cp evil link/pre-commit"#,
    )
    .before("mkdir myhooks && ln -s myhooks link && git config core.hooksPath link")
    .or_refused("it is a symbolic link")
    .seen_by(COMMIT),
    Attempt::shell(
        "plant a hook below the directory that the configuration looks in",
        r#"mv parent old; mkdir -p parent/hooks
printf '#!/bin/sh\ntouch %s/pwned\n' $out > parent/hooks/pre-commit; chmod +x parent/hooks/pre-commit"#,
    )
    .before("mkdir -p parent/hooks && git config core.hooksPath parent/hooks")
    .seen_by(COMMIT),
    Attempt::shell(
        "put another repository in the place of .git",
        r#"printf '#!/bin/sh\ntouch %s/pwned\n' $out > evil; chmod +x evil
mv .git old && cp -r old .git && printf '[core]\nfsmonitor = %s/evil\n' $PWD >> .git/config"#,
    )
    .seen_by(STATUS),
    Attempt::shell(
        "put a file that names another repository in the place of .git",
        r#"printf '#!/bin/sh\ntouch %s/pwned\n' $out > evil; chmod +x evil
cp -r .git other; printf '[core]\nfsmonitor = %s/evil\n' $PWD >> other/config
mv .git old && echo "gitdir: other" > .git"#,
    )
    .seen_by(STATUS),
    Attempt::shell(
        "point .git/commondir at another repository",
        r#"printf '#!/bin/sh\ntouch %s/pwned\n' $out > evil; chmod +x evil
cp -r .git other; printf '[core]\nfsmonitor = %s/evil\n' $PWD >> other/config; rm -f other/commondir
rm -f .git/commondir; echo ../other > .git/commondir"#,
    )
    .seen_by(STATUS),
    Attempt::shell(
        "write config.worktree",
        r#"printf '#!/bin/sh\ntouch %s/pwned\n' $out > evil; chmod +x evil
printf '[core]\nfsmonitor = %s/evil\n' $PWD > .git/config.worktree"#,
    )
    .before("git config extensions.worktreeConfig true")
    .seen_by(STATUS),
    Attempt::shell(
        "write the configuration of a submodule",
        r#"printf '#!/bin/sh\ntouch %s/pwned\n' $out > evil; chmod +x evil
printf '[core]\nfsmonitor = %s/evil\n' $PWD >> .git/modules/part/config"#,
    )
    .before(SUBMODULE)
    .seen_by(STATUS_OF_PART),
    Attempt::shell(
        "plant a hook in a submodule",
        r#"mkdir -p .git/modules/part/hooks
printf '#!/bin/sh\ntouch %s/pwned\n' $out > .git/modules/part/hooks/pre-commit; chmod +x .git/modules/part/hooks/pre-commit"#,
    )
    .before(SUBMODULE)
    .seen_by("git -c safe.directory='*' -C workspace/part -c user.name=T -c user.email=t@example.test commit -q --allow-empty -m later; test -e outside/pwned"),
    Attempt::shell(
        "point a submodule's .git at another repository",
        r#"printf '#!/bin/sh\ntouch %s/pwned\n' $out > evil; chmod +x evil
cp -r .git/modules/part other; printf '[core]\nfsmonitor = %s/evil\nworktree = ../part\n' $PWD >> other/config
echo "gitdir: ../other" > part/.git"#,
    )
    .before(SUBMODULE)
    .seen_by(STATUS_OF_PART),
    Attempt::shell(
        "point another worktree at another repository",
        r#"printf '#!/bin/sh\ntouch %s/pwned\n' $out > evil; chmod +x evil
cp -r .git other; printf '[core]\nfsmonitor = %s/evil\n' $PWD >> other/config
echo ../../../other > .git/worktrees/tree/commondir"#,
    )
    .before("git worktree add -q $out/tree")
    .seen_by("git -c safe.directory='*' -C outside/tree status; test -e outside/pwned"),
    Attempt::shell(
        "point another worktree's directory elsewhere",
        "echo $PWD/evil/.git > .git/worktrees/tree/gitdir",
    )
    .before("git worktree add -q $out/tree")
    .seen_by("grep -q evil workspace/.git/worktrees/tree/gitdir"),
    Attempt::shell(
        "write the configuration of another worktree",
        r#"printf '#!/bin/sh\ntouch %s/pwned\n' $out > evil; chmod +x evil
printf '[core]\nfsmonitor = %s/evil\n' $PWD > .git/worktrees/tree/config.worktree"#,
    )
    .before("git worktree add -q $out/tree && git config extensions.worktreeConfig true")
    .seen_by("git -c safe.directory='*' -C outside/tree status; test -e outside/pwned"),
    Attempt::shell(
        "put another directory in the place of another worktree's",
        r#"printf '#!/bin/sh\ntouch %s/pwned\n' $out > evil; chmod +x evil
cp -r .git other; printf '[core]\nfsmonitor = %s/evil\n' $PWD >> other/config
mv .git/worktrees/tree .git/worktrees/old && cp -r .git/worktrees/old .git/worktrees/tree
rm -f .git/worktrees/tree/commondir; echo ../../../other > .git/worktrees/tree/commondir"#,
    )
    .before("git worktree add -q $out/tree")
    .seen_by("git -c safe.directory='*' -C outside/tree status; test -e outside/pwned"),
    Attempt::shell(
        "plant a hook in the main repository from a linked worktree",
        r#"git=$(git rev-parse --git-common-dir); mkdir -p $git/hooks
printf '#!/bin/sh\ntouch %s/pwned\n' $out > $git/hooks/pre-commit; chmod +x $git/hooks/pre-commit"#,
    )
    .before("mv ../workspace ../main && git -C ../main worktree add -q ../workspace && mkdir -p ../main/.git/hooks")
    .seen_by("git -c safe.directory='*' -C main commit -q --allow-empty -m later; test -e outside/pwned"),
    Attempt::shell(
        "name a repository of one's own in a .git file that was there",
        r#"printf '#!/bin/sh\ntouch %s/pwned\n' $out > evil; chmod +x evil
cp -r $(git rev-parse --git-common-dir) other; printf '[core]\nfsmonitor = %s/evil\n' $PWD >> other/config
echo "gitdir: other" > .git; mv .git old; echo "gitdir: other" > .git"#,
    )
    .before("mv ../workspace ../main && git -C ../main worktree add -q ../workspace")
    .seen_by(STATUS),
    Attempt::shell(
        "plant a monitor of files in a repository of one's own inside the workspace",
        r#"printf '#!/bin/sh\ntouch %s/pwned\n' $out > evil; chmod +x evil
mkdir new && cd new && git init -q . && git config core.fsmonitor $PWD/../evil"#,
    )
    .seen_by("git -c safe.directory='*' -C workspace/new status; test -e outside/pwned"),
];

const SUBMODULE: &str = "git init -q --bare .git/modules/part && git -C .git/modules/part config core.bare false && \
    git -C .git/modules/part config core.worktree ../../../part && mkdir part && echo 'gitdir: ../.git/modules/part' > part/.git";
const SUBMODULE_THAT_INCLUDES: &str = "git init -q --bare .git/modules/part && git -C .git/modules/part config core.bare false && \
    git -C .git/modules/part config core.worktree ../../../part && mkdir part && echo 'gitdir: ../.git/modules/part' > part/.git && \
    echo > included && git -C .git/modules/part config include.path ../../../included";
const STATUS_OF_PART: &str = "git -c safe.directory='*' -C workspace/part status; test -e outside/pwned";
