package local

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The files of deploy/three-hosts say the same as this package where they say the same thing.

func threeHosts(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "three-hosts", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestThreeHostsHaveTheSameAccounts(t *testing.T) {
	text := threeHosts(t, "accounts.sql")
	got := map[string]bool{}
	for _, grant := range regexp.MustCompile(`(?m)^GRANT (.*);$`).FindAllStringSubmatch(text, -1) {
		got[grant[1]] = true
	}
	want := map[string]bool{}
	for account, all := range grants() {
		for _, grant := range all {
			want[grant+" TO '"+string(account)+"'@'%'"] = true
		}
		if !strings.Contains(text, "CREATE OR REPLACE USER '"+string(account)+"'@'%' IDENTIFIED BY '@"+strings.TrimPrefix(string(account), "quipu_")+"@'") {
			t.Errorf("accounts.sql does not create %s", account)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("grants (-launcher +accounts.sql):\n%s", diff)
	}
	if !strings.Contains(text, limits(AccountAnalyst)) {
		t.Errorf("accounts.sql does not bound the analyst by %s", limits(AccountAnalyst))
	}
}

func TestThreeHostsHaveTheSameDatabaseSettings(t *testing.T) {
	sized := map[string]bool{"max_binlog_size": true, "binlog_expire_logs_seconds": true, "tmp_table_size": true, "max_allowed_packet": true, "innodb_flush_neighbors": true}
	got := map[string]string{}
	for _, setting := range regexp.MustCompile(`(?m)^(\w+) = (.*)$`).FindAllStringSubmatch(threeHosts(t, "mariadb-common.cnf"), -1) {
		got[setting[1]] = setting[2]
	}
	for name, want := range baseSettings {
		if name != "bind_address" && !sized[name] && got[name] != want {
			t.Errorf("mariadb-common.cnf has %s = %q, the launcher %q", name, got[name], want)
		}
	}
}
