package zookeeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/quipudb/quipu/cluster"
)

// A group is what is read together: "cluster", "topology", "event-types" or a role's members.
const (
	groupSettings = "cluster"
	groupTopology = "topology"
	groupTypes    = "event-types"
)

func allGroups() map[string]bool {
	groups := map[string]bool{groupSettings: true, groupTopology: true, groupTypes: true}
	for _, role := range cluster.Roles() {
		groups[string(role)] = true
	}
	return groups
}

// follower reads for a directory. Only the directory's Run uses it.
type follower struct {
	directory *Directory
	client    *Client
	known     *known
	dirty     map[string]bool // groups to read
	schedule  schedule
	connects  uint64                           // of the connection last seen
	seen      map[cluster.Role]map[string]bool // members that were read since that connection
	confirmed bool                             // the settings in ZooKeeper were seen to be those known
	complaint string                           // the failure that was logged last
}

// load takes over the snapshot of the process's earlier life.
func (f *follower) load() error {
	found, err := f.directory.file.read()
	if errors.Is(err, errSnapshotContent) {
		f.directory.log.Warn("ignoring the cluster's snapshot on disk", "error", err)
		return nil
	}
	if err != nil {
		return err
	}
	if found == nil {
		return nil
	}
	f.known = found
	f.directory.publish(found)
	f.directory.log.Info("using the cluster's snapshot on disk until ZooKeeper answers", "file", f.directory.file.path)
	return nil
}

// connection notices a new connection: then everything is read again, and members are kept for a while.
func (f *follower) connection(state sessionView) {
	if !state.connected || state.connects == f.connects {
		return
	}
	f.connects = state.connects
	f.schedule.settled = time.Now().Add(f.client.cfg.SessionTimeout)
	f.seen = map[cluster.Role]map[string]bool{}
	f.dirty = allGroups()
}

// elapsed is called when the schedule's time has come. Groups whose reading failed are dirty still.
func (f *follower) elapsed() {
	if f.schedule.due(time.Now()) {
		f.dirty = allGroups()
	}
}

// refresh reads the groups that may have changed. Only ErrOtherCluster is returned, and only before the settings were confirmed.
func (f *follower) refresh(ctx context.Context) error {
	for path := range f.directory.watches.take() {
		f.dirty[f.groupOf(path)] = true
	}
	if len(f.dirty) == 0 {
		return nil
	}
	err := f.readDirty(ctx)
	if f.directory.publish(f.known) {
		f.save()
	}
	if errors.Is(err, ErrOtherCluster) && !f.confirmed {
		return err
	}
	if err != nil && ctx.Err() == nil {
		f.client.metrics.readFails.Inc()
		f.schedule.failed(time.Now())
		f.complain(err)
		return nil
	}
	f.complaint = ""
	f.schedule.succeeded()
	return nil
}

// complain logs a failure unless it is the one logged last.
func (f *follower) complain(err error) {
	if text := err.Error(); text != f.complaint {
		f.complaint = text
		f.directory.log.Warn("reading the cluster failed; keeping what is known", "error", err)
	}
}

func (f *follower) groupOf(path string) string {
	for _, role := range cluster.Roles() {
		if folder := f.client.paths.members(role); path == folder || len(path) > len(folder) && path[:len(folder)+1] == folder+"/" {
			return string(role)
		}
	}
	switch path {
	case f.client.paths.settings():
		return groupSettings
	case f.client.paths.topology():
		return groupTopology
	}
	return groupTypes
}

// readDirty reads settings first: nothing of another cluster is taken over.
func (f *follower) readDirty(ctx context.Context) error {
	if f.dirty[groupSettings] {
		if err := f.readSettings(ctx); err != nil {
			return err
		}
		delete(f.dirty, groupSettings)
	}
	reads := map[string]func(context.Context) error{groupTopology: f.readTopology, groupTypes: f.readTypes}
	for _, role := range cluster.Roles() {
		reads[string(role)] = func(ctx context.Context) error { return f.readMembers(ctx, role) }
	}
	var errs []error
	for group, read := range reads {
		if !f.dirty[group] {
			continue
		}
		if err := read(ctx); err != nil {
			errs = append(errs, err)
			continue
		}
		delete(f.dirty, group)
	}
	return errors.Join(errs...)
}

func (f *follower) readSettings(ctx context.Context) error {
	data, found, err := f.directory.watches.read(ctx, f.client, f.client.paths.settings())
	if err != nil || !found {
		return err
	}
	var s cluster.Settings
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	if s.Partitions < 1 || s.Partitions > cluster.MaxPartitions || s.ClusterID == "" {
		return fmt.Errorf("read settings: %w: cluster %q has %d partitions", ErrSettings, s.ClusterID, s.Partitions)
	}
	if f.known.settings != nil && !sameSettings(*f.known.settings, s) {
		return fmt.Errorf("%w: %s with %d partitions, but this process knows %s with %d partitions%s", ErrOtherCluster,
			s.ClusterID, s.Partitions, f.known.settings.ClusterID, f.known.settings.Partitions, f.directory.file.hint())
	}
	f.known.settings, f.confirmed = &s, true
	return nil
}

func (f *follower) readTopology(ctx context.Context) error {
	data, found, err := f.directory.watches.read(ctx, f.client, f.client.paths.topology())
	if err != nil || !found {
		return err
	}
	var t cluster.Topology
	if err := json.Unmarshal(data, &t); err != nil {
		return fmt.Errorf("read topology: %w", err)
	}
	if err := t.Validate(); err != nil {
		return fmt.Errorf("read topology: %w", err)
	}
	if s := f.known.settings; s != nil && len(t.Partitions) != s.Partitions {
		return fmt.Errorf("read topology: %w: it has %d partitions, the cluster has %d", cluster.ErrTopology, len(t.Partitions), s.Partitions)
	}
	if f.known.topology == nil || !reflect.DeepEqual(*f.known.topology, t) {
		f.known.topology = &t
	}
	return nil
}

// readTypes reads the event types that are not known yet: a type never changes.
func (f *follower) readTypes(ctx context.Context) error {
	names, err := f.directory.watches.list(ctx, f.client, f.client.paths.eventTypes())
	if err != nil {
		return err
	}
	var errs []error
	missed := false
	for _, name := range names {
		if _, ok := f.known.types[name]; ok {
			continue
		}
		t, found, err := f.client.readEventType(ctx, name)
		if err != nil {
			errs = append(errs, err)
			missed = missed || !errors.Is(err, errTypeContent)
		} else if found {
			f.known.types[name] = t
		}
	}
	f.known.typesRead = f.known.typesRead || !missed
	return errors.Join(errs...)
}

func (f *follower) readMembers(ctx context.Context, role cluster.Role) error {
	names, err := f.directory.watches.list(ctx, f.client, f.client.paths.members(role))
	if err != nil {
		return err
	}
	live := make(map[string]cluster.Member, len(names))
	for _, id := range names {
		m, found, err := f.readMember(ctx, role, id)
		if err != nil {
			return err
		}
		if found {
			live[id] = m
		}
	}
	f.known.members[role] = f.keep(role, live)
	return nil
}

// keep adds to the live members those that may only not have registered again since an outage. One that was seen since is not kept.
func (f *follower) keep(role cluster.Role, live map[string]cluster.Member) map[string]cluster.Member {
	if f.seen[role] == nil {
		f.seen[role] = map[string]bool{}
	}
	for id := range live {
		f.seen[role][id] = true
	}
	if !f.schedule.keeping(time.Now()) {
		return live
	}
	for id, m := range f.known.members[role] {
		if !f.seen[role][id] {
			live[id] = m
		}
	}
	return live
}

// readMember keeps the last known content of a node that can't be decoded.
func (f *follower) readMember(ctx context.Context, role cluster.Role, id string) (m cluster.Member, found bool, err error) {
	path := f.client.paths.member(role, id)
	data, found, err := f.directory.watches.read(ctx, f.client, path)
	if err != nil || !found {
		return m, false, err
	}
	if err := json.Unmarshal(data, &m); err != nil || m.ID != id || m.Role != role || m.URL == "" {
		f.complain(fmt.Errorf("node %s does not describe that member", path))
		m, found = f.known.members[role][id]
	}
	return m, found, nil
}

func (f *follower) save() {
	if err := f.directory.file.write(f.known); err != nil {
		f.client.metrics.diskFails.Inc()
		f.directory.log.Error("writing the cluster's snapshot to disk failed; going on", "error", err)
	}
}
