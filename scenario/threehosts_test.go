package scenario_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/testkit"
)

func reservePort(t *testing.T) int {
	t.Helper()
	port, err := local.ReservePort()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = port.Release() })
	return port.Number
}

// fleet is the three hosts with what runs on them.
type fleet struct {
	hosts
	zookeepers []*local.ZooKeeper
	databases  map[string]*local.MariaDB // by host and shard: "host1 s1"
	passwords  map[string]string         // by name of the file in secrets
	tokens     map[string]string         // by name
	roles      map[string]*local.Role    // by host and unit
}

func hostNames() []string { return []string{"host1", "host2", "host3"} }

// TestThreeHosts follows deploy/three-hosts/README.md with its very files and the units of deploy/systemd, the three hosts being folders
// and ports of this machine, and counts events end to end.
func TestThreeHosts(t *testing.T) {
	t.Parallel()
	f := &fleet{
		hosts: hosts{root: t.TempDir(), ports: map[string]int{}}, databases: map[string]*local.MariaDB{}, passwords: map[string]string{},
		tokens: map[string]string{}, roles: map[string]*local.Role{},
	}
	ctx, cancel := context.WithTimeout(t.Context(), startPatience)
	defer cancel()
	f.configure(t)
	f.startServers(ctx, t)
	f.replicate(ctx, t)
	f.command(t, "cluster", "init", "--topology", f.path("host1", "/etc/quipu/topology.yaml"))
	f.command(t, "migrate", "up")
	f.command(t, "event-type", "create", "view", "--unit", "ms")
	f.startRoles(ctx, t)

	f.count(t, 1)
	// One ZooKeeper of three is not missed.
	if err := f.zookeepers[0].Kill(); err != nil {
		t.Fatal(err)
	}
	f.count(t, 2)
}

// configure puts every file where the README puts it, with secrets and tokens of this run.
func (f *fleet) configure(t *testing.T) {
	t.Helper()
	for _, name := range []string{"apply", "read", "monitor", "migrate", "analyst", "replicate", "failover", "rebuild", "internal-token"} {
		f.passwords[name] = rand.Text()
	}
	replaced := f.makeTokens(t)
	for _, host := range hostNames() {
		text := f.install(t, host, "quipu.yaml", "/etc/quipu/quipu.yaml")
		for zero, hash := range replaced {
			if !strings.Contains(text, zero) {
				t.Fatalf("quipu.yaml has no token %s to replace", zero)
			}
			text = strings.Replace(text, zero, hash, 1)
		}
		f.write(t, host, "/etc/quipu/quipu.yaml", text)
		f.install(t, host, "topology.yaml", "/etc/quipu/topology.yaml")
		f.install(t, host, host+"/host.env", "/etc/quipu/host.env")
		files, err := filepath.Glob(filepath.Join("..", "deploy", "three-hosts", host, "shard-proxy-*.env"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no settings of shard proxies of %s: %v", host, err)
		}
		for _, file := range files {
			f.install(t, host, host+"/"+filepath.Base(file), "/etc/quipu/"+filepath.Base(file))
		}
		for name, password := range f.passwords {
			f.write(t, host, "/etc/quipu/secrets/"+name, password+"\n")
		}
	}
}

// makeTokens makes a token for each line of quipu.yaml that waits for one, as the README says.
func (f *fleet) makeTokens(t *testing.T) map[string]string {
	t.Helper()
	replaced := map[string]string{}
	for i, token := range []struct{ name, scopes string }{{"app", "write"}, {"dashboard", "read"}} {
		out, err := exec.CommandContext(t.Context(), testkit.Binary(t), "token", "create", token.name, "--scopes", token.scopes, "--json").Output()
		if err != nil {
			t.Fatal(err)
		}
		var made struct {
			Token  string `json:"token"`
			SHA256 string `json:"sha256"`
		}
		if err := json.Unmarshal(out, &made); err != nil {
			t.Fatal(err)
		}
		f.tokens[token.name] = made.Token
		replaced[fmt.Sprintf("%064d", i+1)] = made.SHA256
	}
	return replaced
}

// startServers runs an ensemble of three ZooKeeper servers, and the databases that each host's mariadb.cnf lists.
func (f *fleet) startServers(ctx context.Context, t *testing.T) {
	t.Helper()
	group, ctx := errgroup.WithContext(ctx)
	for i, host := range hostNames() {
		settings := f.install(t, host, "zoo.cfg", "/etc/zookeeper/conf/zoo.cfg")
		f.write(t, host, "/var/lib/zookeeper/myid", strconv.Itoa(i+1))
		zk := local.NewZooKeeper(local.ZooKeeperConfig{
			Dir: f.path(host, "/zookeeper"), Port: f.port(t, host, "2181"), Settings: settings + "clientPortAddress=127.0.0.1\n", DieWithParent: true,
		})
		f.zookeepers = append(f.zookeepers, zk)
		t.Cleanup(func() { must(t, zk.Kill()) })
		group.Go(func() error { return zk.Start(ctx) })
		for shard, settings := range f.databaseSettings(t, host) {
			port, _ := strconv.Atoi(settings["port"])
			db := local.NewMariaDB(local.MariaDBConfig{
				Name: host + " " + shard, Dir: f.path(host, "/mysql-"+shard), Port: port, DieWithParent: true, Settings: settings,
			})
			f.databases[host+" "+shard] = db
			t.Cleanup(func() { must(t, db.Kill()) })
			group.Go(func() error { return db.Start(ctx) })
		}
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

var (
	groupLine   = regexp.MustCompile(`^\[mariadbd(?:\.(\w+))?\]$`)
	settingLine = regexp.MustCompile(`^(\w+) = (.+)$`)
)

// databaseSettings reads the common file and the host's own as mariadb@SHARD.service does, but for folders and for sizes that a test can't
// afford.
func (f *fleet) databaseSettings(t *testing.T, host string) map[string]map[string]string {
	t.Helper()
	text := f.install(t, host, "mariadb-common.cnf", "/etc/mysql/mariadb.conf.d/90-quipu.cnf") +
		f.install(t, host, host+"/mariadb.cnf", "/etc/mysql/mariadb.conf.d/91-quipu-host.cnf")
	common, servers := map[string]string{}, map[string]map[string]string{}
	into := common
	for line := range strings.SplitSeq(text, "\n") {
		if group := groupLine.FindStringSubmatch(line); group != nil {
			if into = common; group[1] != "" {
				into = maps.Clone(common)
				servers[group[1]] = into
			}
		}
		if setting := settingLine.FindStringSubmatch(line); setting != nil {
			into[setting[1]] = setting[2]
		}
	}
	for _, settings := range servers {
		for _, name := range []string{"datadir", "socket", "pid_file", "innodb_buffer_pool_size", "innodb_log_file_size"} {
			if settings[name] == "" {
				t.Errorf("%s: a server has no %s", host, name)
			}
			delete(settings, name)
		}
		settings["bind_address"] = "127.0.0.1"
		settings["innodb_buffer_pool_size"], settings["innodb_log_file_size"] = "64M", "64M"
	}
	return servers
}

// replicate makes accounts on the primaries and points the replicas at them, as the README does.
func (f *fleet) replicate(ctx context.Context, t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "deploy", "three-hosts", "accounts.sql"))
	if err != nil {
		t.Fatal(err)
	}
	accounts := strings.ReplaceAll(string(text), "'%'", "'127.0.0.%'")
	for name, password := range f.passwords {
		accounts = strings.ReplaceAll(accounts, "@"+name+"@", password)
	}
	readme, err := os.ReadFile(filepath.Join("..", "deploy", "three-hosts", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	changeMaster := regexp.MustCompile(`(?s)CHANGE MASTER TO .*?;`).FindString(string(readme))
	if changeMaster == "" {
		t.Fatal("the README does not say how a replica is pointed at its primary")
	}
	for shard, pair := range map[string][2]string{"s1": {"host1", "host2"}, "s2": {"host2", "host3"}} {
		primary, replica := f.databases[pair[0]+" "+shard], f.databases[pair[1]+" "+shard]
		for statement := range strings.SplitSeq(accounts, ";\n") {
			if strings.TrimSpace(statement) == "" {
				continue
			}
			if _, err := primary.Root().ExecContext(ctx, statement); err != nil {
				t.Fatalf("accounts.sql: %s: %v", statement, err)
			}
		}
		if _, err := primary.Root().ExecContext(ctx, "SET GLOBAL read_only = OFF"); err != nil {
			t.Fatal(err)
		}
		statement := strings.NewReplacer("'host1'", "'127.0.0.1'", "3306", strconv.Itoa(primary.Port()), "@replicate@", f.passwords["replicate"]).Replace(changeMaster)
		for _, statement := range []string{statement, "START SLAVE"} {
			if _, err := replica.Root().ExecContext(ctx, statement); err != nil {
				t.Fatalf("%s: %v", statement, err)
			}
		}
		if err := local.AwaitReplica(ctx, primary, replica); err != nil {
			t.Fatal(err)
		}
	}
}

// command runs a command on host1, as root there would.
func (f *fleet) command(t *testing.T, args ...string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), testkit.Binary(t), append(args, "--config", f.path("host1", "/etc/quipu/quipu.yaml"))...)
	command.Env = append(os.Environ(), "QUIPU_ACCOUNTS_MIGRATE_PASSWORD_FILE="+f.path("host1", "/etc/quipu/secrets/migrate"))
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("quipu %v: %v\n%s", args, err, out)
	}
}

// startRoles runs the units that each host's list names, all at once.
func (f *fleet) startRoles(ctx context.Context, t *testing.T) {
	t.Helper()
	group, ctx := errgroup.WithContext(ctx)
	for _, host := range hostNames() {
		list, err := os.ReadFile(filepath.Join("..", "deploy", "three-hosts", host, "roles"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range strings.Fields(string(list)) {
			role := f.role(t, host, name)
			f.roles[host+" "+name] = role
			t.Cleanup(func() {
				must(t, role.Kill())
				if t.Failed() {
					t.Logf("%s on %s:\n%s", name, host, local.LogTail(role.LogFile(), 10))
				}
			})
			group.Go(func() error { return role.Start(ctx) })
		}
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

// role does what systemd does with a unit.
func (f *fleet) role(t *testing.T, host, name string) *local.Role {
	t.Helper()
	credentials := "/run/credentials/" + name
	u := readUnit(t, name, credentials)
	for credential, path := range u.credentials {
		secret, err := os.ReadFile(f.path(host, path))
		if err != nil {
			t.Fatalf("%s needs the credential %s: %v", name, credential, err)
		}
		f.write(t, host, credentials+"/"+credential, string(secret))
	}
	for _, state := range u.state {
		if err := os.MkdirAll(f.path(host, "/var/lib/"+state), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for i, word := range u.exec {
		u.exec[i] = f.localise(t, host, word)
	}
	for i, setting := range u.environment {
		u.environment[i] = strings.ReplaceAll(setting, "/run/credentials", f.path(host, "/run/credentials"))
	}
	if u.exec[0] != "/usr/local/bin/quipu" {
		t.Fatalf("%s starts %s", name, u.exec[0])
	}
	environment := append(f.environmentOf(t, host, u), "QUIPU_INGEST_SEGMENT_SIZE=1MiB", "QUIPU_WRITER_FLUSH_INTERVAL=200ms")
	return local.NewRole(local.RoleConfig{
		Name: name + " on " + host, Program: testkit.Binary(t), Args: u.exec[1:], Env: environment, Dir: f.path(host, "/run/"+name),
		LogFile: f.path(host, "/log/"+name), Port: f.listens(t, host, u.exec[1], environment), DieWithParent: true,
	})
}

// listens is the loopback port on which a role serves: as its environment says, which is in terms of this machine already, or its
// section of quipu.yaml.
func (f *fleet) listens(t *testing.T, host, role string, environment []string) int {
	t.Helper()
	section := strings.ReplaceAll(role, "-", "_")
	address := ""
	for _, setting := range environment {
		if value, ok := strings.CutPrefix(setting, "QUIPU_"+strings.ToUpper(section)+"_LISTEN="); ok {
			address = value
		}
	}
	if address == "" {
		text, err := os.ReadFile(f.path(host, "/etc/quipu/quipu.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if found := regexp.MustCompile(`(?m)^` + section + `:\n  listen: (.*)$`).FindSubmatch(text); found != nil {
			address = string(found[1])
		}
	}
	port, err := strconv.Atoi(strings.TrimPrefix(address, "127.0.0.1:"))
	if err != nil {
		t.Fatalf("nothing says where %s of %s listens: %q", role, host, address)
	}
	return port
}

// count sends one more event of each of many keys and expects every reader, and the analysts' SQL on the replicas, to have counted so many.
func (f *fleet) count(t *testing.T, want int) {
	t.Helper()
	var events []map[string]any
	for i := range 40 {
		events = append(events, map[string]any{"type": "view", "key": fmt.Sprint("v", i), "id": fmt.Sprint("event ", want), "value": 10 * want})
	}
	body, err := json.Marshal(events)
	if err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, patience, func() error {
		answer, err := f.call(http.MethodPost, f.roles["host1 quipu-ingest.service"].URL()+"/v1/events", "app", body)
		if err == nil && !strings.Contains(answer, `"accepted":40`) {
			err = fmt.Errorf("ingest answers %s", answer)
		}
		return err
	})
	testkit.Eventually(t, patience, func() error {
		var group errgroup.Group
		for i := range 80 {
			host := []string{"host1", "host3"}[i%2]
			group.Go(func() error { return f.expect(host, i/2, want) })
		}
		return group.Wait()
	})
	if _, err := f.call(http.MethodGet, f.roles["host1 quipu-reader.service"].URL()+"/v1/stats?type=view&key=v1", "app", nil); err == nil {
		t.Error("a token that may write may read")
	}
	testkit.Eventually(t, patience, func() error {
		var counted int
		for _, replica := range []string{"host2 s1", "host3 s2"} {
			var n int
			if err := f.databases[replica].Root().QueryRowContext(t.Context(), "SELECT COALESCE(SUM(event_count), 0) FROM analytics.counts_per_minute").Scan(&n); err != nil {
				return err
			}
			counted += n
		}
		if counted != 40*want {
			return fmt.Errorf("the replicas count %d events, want %d", counted, 40*want)
		}
		return nil
	})
}

// expect asks the reader of a host, which waits until what was sent is counted.
func (f *fleet) expect(host string, key, want int) error {
	reader := f.roles[host+" quipu-reader.service"].URL()
	answer, err := f.call(http.MethodGet, fmt.Sprintf("%s/v1/stats?type=view&key=v%d&wait=10s", reader, key), "dashboard", nil)
	if err == nil && !strings.Contains(answer, fmt.Sprintf(`"value":%d,`, want)) {
		err = fmt.Errorf("the reader on %s answers %s, want %d", host, answer, want)
	}
	return err
}

func (f *fleet) call(method, url, token string, body []byte) (string, error) {
	request, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	request.Header.Set("Authorization", "Bearer "+f.tokens[token])
	request.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode >= 300 {
		err = fmt.Errorf("status %d: %s", answer.StatusCode, text)
	}
	return string(text), err
}
