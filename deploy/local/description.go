package local

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
)

// Description says what runs, for programs: data/cluster.json is one. It is written
// once everything is ready, again whenever something was started again, and
// removed before anything stops.
type Description struct {
	Format      int                `json:"format"`
	DataDir     string             `json:"data_dir"`
	Version     string             `json:"version"`
	LauncherPID int                `json:"launcher_pid"`
	ReadyAt     time.Time          `json:"ready_at"`
	Config      string             `json:"config"`    // configuration file for commands
	ZooKeeper   string             `json:"zookeeper"` // host:port
	URLs        map[string]string  `json:"urls"`      // of each role, by process name
	Processes   []DescribedProcess `json:"processes"`
	Databases   []DescribedServer  `json:"databases"`
	Accounts    []DescribedAccount `json:"accounts"`
}

// DescribedProcess is one process of the cluster, servers included.
type DescribedProcess struct {
	Name     string `json:"name"` // "reader", "shard-proxy-s1", "s1-a", "zookeeper"
	PID      int    `json:"pid"`
	Port     int    `json:"port"`
	Log      string `json:"log"`
	Restarts int    `json:"restarts"` // since the launcher started
}

// DescribedServer is one database.
type DescribedServer struct {
	ID      string `json:"id"`
	Shard   string `json:"shard"`
	Role    string `json:"role"` // "primary" or "replica", when this was written
	Address string `json:"address"`
	Socket  string `json:"socket"` // root's, for who owns the data folder
}

// DescribedAccount is one user of all databases.
type DescribedAccount struct {
	User         string `json:"user"`
	PasswordFile string `json:"password_file"`
}

// Description says what runs now.
func (c *Cluster) Description() Description {
	d := Description{
		Format: folderFormat, DataDir: string(c.folder), Version: c.config.Version, LauncherPID: os.Getpid(),
		Config: c.folder.file("quipu.yaml"), ZooKeeper: c.zookeeper.Address(), URLs: map[string]string{},
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	d.ReadyAt = c.ready
	for _, p := range c.parts {
		process := p.proc.Process()
		if process == nil {
			continue
		}
		d.Processes = append(d.Processes, DescribedProcess{
			Name: p.name, PID: process.PID(), Port: c.ports[p.name], Log: process.LogFile(), Restarts: c.again[p.name],
		})
		if role, ok := p.proc.(*Role); ok {
			d.URLs[p.name] = role.URL()
		}
	}
	for _, shard := range c.shards {
		primary := shard.primaryNow(context.Background())
		for _, server := range shard.servers {
			role := "replica"
			if server == primary {
				role = "primary"
			}
			d.Databases = append(d.Databases, describeServer(shard.id, role, server))
		}
	}
	for _, account := range Accounts() {
		d.Accounts = append(d.Accounts, DescribedAccount{User: string(account), PasswordFile: c.folder.secret(account)})
	}
	return d
}

func describeServer(shard, role string, server *MariaDB) DescribedServer {
	return DescribedServer{ID: server.Name(), Shard: shard, Role: role, Address: server.Address(), Socket: server.Socket()}
}

// ReadDescription reads the cluster.json of a data folder. It may be that of a
// launcher that was killed: see LauncherPID.
func ReadDescription(dir string) (Description, error) {
	var d Description
	content, err := os.ReadFile(folder(absolute(dir)).file("cluster.json"))
	if err == nil {
		err = json.Unmarshal(content, &d)
	}
	if err != nil {
		return Description{}, fmt.Errorf("read cluster description: %w", err)
	}
	return d, nil
}

// Process is the process of that name, and false if there is none.
func (d Description) Process(name string) (DescribedProcess, bool) {
	for _, p := range d.Processes {
		if p.Name == name {
			return p, true
		}
	}
	return DescribedProcess{}, false
}

// describe writes cluster.json, once the cluster is ready.
func (c *Cluster) describe() error {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	d := c.Description()
	if d.ReadyAt.IsZero() {
		return nil
	}
	content, err := json.MarshalIndent(d, "", "  ")
	if err == nil {
		err = writeFileAtomically(c.folder.file("cluster.json"), append(content, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write cluster description: %w", err)
	}
	return nil
}

func (c *Cluster) nowReady(context.Context) error {
	c.mu.Lock()
	c.ready = time.Now().UTC()
	c.mu.Unlock()
	c.say("everything is up after %.1f s", time.Since(c.begun).Seconds())
	return c.describe()
}

// forget removes cluster.json: what it says is about to end.
func (c *Cluster) forget() {
	c.mu.Lock()
	c.ready = time.Time{}
	c.mu.Unlock()
	if c.lock != nil && c.folder != "" {
		_ = os.Remove(c.folder.file("cluster.json"))
	}
}

// Kill ends everything at once, as kill -9 does, and gives the folder back.
func (c *Cluster) Kill() error {
	c.forget()
	var group errgroup.Group
	for _, p := range c.parts {
		group.Go(p.proc.Kill)
	}
	err := group.Wait()
	if closed := c.close(); err == nil {
		err = closed
	}
	return err
}
