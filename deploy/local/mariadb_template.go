package local

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
)

// initStatements leave one account: root without a password, through the unix
// socket. They run in the server's bootstrap mode, one statement a line.
const initStatements = `DELETE FROM mysql.global_priv WHERE NOT (User = 'root' AND Host = 'localhost') AND User <> 'mariadb.sys';
DELETE FROM mysql.proxies_priv;
`

const templateRedoLogBytes = "16M"

// ensureData makes a fresh data folder unless there is one. Making it from
// nothing takes the server a second and copying one that was made before hardly
// any time, so a template is kept per server version.
func ensureData(ctx context.Context, templates, server string, isMySQL bool, dataDir string) error {
	if _, err := os.Stat(dataDir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	template, err := ensureTemplate(ctx, templates, server, isMySQL)
	if err != nil {
		return fmt.Errorf("make data folder: %w", err)
	}
	// A copy that was interrupted must not pass for a data folder.
	unfinished := dataDir + ".unfinished"
	if err := errors.Join(os.RemoveAll(unfinished), copyTree(template, unfinished)); err != nil {
		return fmt.Errorf("make data folder: %w", err)
	}
	if err := os.Rename(unfinished, dataDir); err != nil {
		return fmt.Errorf("make data folder: %w", err)
	}
	return nil
}

// ensureTemplate is the template's folder, made by the first who needs it.
func ensureTemplate(ctx context.Context, templates, server string, isMySQL bool) (string, error) {
	if templates == "" {
		var err error
		if templates, err = cacheDir(); err != nil {
			return "", err
		}
	}
	if err := os.MkdirAll(templates, 0o700); err != nil {
		return "", err
	}
	version, err := exec.CommandContext(ctx, server, "--no-defaults", "--version").Output()
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", server, err)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s", version, initStatements, templateRedoLogBytes))
	template := filepath.Join(templates, "mariadb-"+hex.EncodeToString(sum[:8]))

	lock, err := awaitLock(ctx, template+".lock")
	if err != nil {
		return "", fmt.Errorf("lock template: %w", err)
	}
	defer func() { _ = lock.Unlock() }()
	if _, err := os.Stat(template); err == nil {
		return template, nil
	}
	unfinished := template + ".unfinished"
	if err := os.RemoveAll(unfinished); err != nil {
		return "", err
	}
	install := installDB
	if isMySQL {
		install = func(ctx context.Context, dataDir string) error { return initializeMySQL(ctx, server, dataDir) }
	}
	if err := install(ctx, unfinished); err != nil {
		return "", err
	}
	return template, os.Rename(unfinished, template)
}

func cacheDir() (string, error) {
	if dir, err := os.UserCacheDir(); err == nil {
		return filepath.Join(dir, "quipu"), nil
	}
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("quipu-cache-%d", os.Getuid()))
	return dir, os.MkdirAll(dir, 0o700)
}

// installDB runs mariadb-install-db into a folder that doesn't exist yet.
func installDB(ctx context.Context, dataDir string) error {
	program, err := FindProgram("mariadb-install-db")
	if err != nil {
		return err
	}
	owner, err := user.Current()
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "quipu-install-db-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	settings := filepath.Join(scratch, "my.cnf")
	statements := filepath.Join(scratch, "init.sql")
	err = errors.Join(
		os.WriteFile(settings, []byte("[mariadbd]\ncharacter_set_server=utf8mb4\ncollation_server=utf8mb4_bin\ninnodb_log_file_size="+templateRedoLogBytes+"\n"), 0o600),
		os.WriteFile(statements, []byte(initStatements), 0o600),
	)
	if err != nil {
		return err
	}
	// Forced: it refuses a machine whose own name can't be looked up, for accounts that are deleted right away.
	command := exec.CommandContext(ctx, program, "--defaults-file="+settings, "--datadir="+dataDir, "--force",
		"--user="+owner.Username, "--auth-root-authentication-method=normal", "--skip-test-db", "--extra-file="+statements)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("run %s: %w\n%s", program, err, indent(strings.TrimSpace(string(out))))
	}
	return nil
}

// copyTree copies folders and plain files with their modes.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, relative)
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return os.MkdirAll(target, info.Mode().Perm()|0o700)
		}
		return copyFile(path, target, info.Mode().Perm())
	})
}

func copyFile(from, to string, mode fs.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
