package archive

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/quipudb/quipu/blob"
	"github.com/quipudb/quipu/blob/countfile"
	"github.com/quipudb/quipu/wire"
)

// Check says what Verify looks at.
type Check struct {
	From, To int64    // minutes; To 0: no end
	Shards   []string // whose manifests; none: of all
	Sample   float64  // share of the objects that are read as a whole, 0 to 1; of the others existence and size are looked at
	Progress func(objects int, bytes int64)
}

// The kinds of Finding.
const (
	Missing = "missing" // the manifest names it, cold storage does not have it
	Damaged = "damaged" // it is not what was written
	Wrong   = "wrong"   // it is what was written, and its sums are not those of the manifest
	Orphan  = "orphan"  // nothing refers to it; no answer depends on it
)

// Finding is something that is not as it should be.
type Finding struct {
	Shard  string `json:"shard,omitempty"`
	Object string `json:"object"`
	Kind   string `json:"kind"`
	Detail string `json:"detail"`
}

// Report is what Verify found.
type Report struct {
	Objects  int       `json:"objects"` // of the manifests
	Read     int       `json:"read"`    // of them, as a whole
	Rows     int64     `json:"rows"`    // in them
	Bytes    int64     `json:"bytes"`   // read
	Findings []Finding `json:"findings"`
}

// Errors counts the findings that make answers fail.
func (r *Report) Errors() (n int) {
	for _, f := range r.Findings {
		if f.Kind != Orphan {
			n++
		}
	}
	return n
}

// verification is one Verify.
type verification struct {
	*Archiver
	check Check

	mu     sync.Mutex
	report Report
}

// Verify holds the manifests against cold storage: that each object exists and has its size, and, of a sample, that its bytes, order and sums are
// what they were. What differs is in the report; an error says that it could not be told.
func (a *Archiver) Verify(ctx context.Context, check Check) (*Report, error) {
	if len(check.Shards) == 0 {
		check.Shards = a.cfg.Shards.IDs()
	}
	v := &verification{Archiver: a, check: check}
	// In this order: what is written meanwhile is announced when it is looked for.
	listed, err := v.list(ctx)
	if err != nil {
		return nil, err
	}
	for _, shard := range a.cfg.Shards.IDs() {
		if err := v.shard(ctx, shard, listed); err != nil {
			return nil, err
		}
	}
	v.addOrphans(listed)
	slices.SortFunc(v.report.Findings, func(x, y Finding) int {
		return cmp.Or(cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Object, y.Object), cmp.Compare(x.Shard, y.Shard))
	})
	return &v.report, nil
}

func (v *verification) list(ctx context.Context) (map[string]blob.Attributes, error) {
	listed := map[string]blob.Attributes{}
	for object, err := range v.cfg.Store.List(ctx, objectsPrefix) {
		if err != nil {
			return nil, err
		}
		listed[object.Name] = object
	}
	return listed, nil
}

// shard checks what one manifest names, if it is asked for, and takes it all from the list: what is left is of nobody.
func (v *verification) shard(ctx context.Context, shard string, listed map[string]blob.Attributes) error {
	state, err := v.State(ctx, shard)
	if err != nil {
		return err
	}
	known, err := v.entries(ctx, shard, wire.ManifestRequest{})
	if err != nil {
		return err
	}
	group, checking := errgroup.WithContext(ctx)
	group.SetLimit(writesAtOnce)
	for _, e := range known {
		object, exists := listed[e.name]
		if e.state != stateStored || !slices.Contains(v.check.Shards, shard) || e.day+minutesOfDay <= v.check.From || v.check.To > 0 && e.day >= v.check.To {
			continue
		}
		group.Go(func() error { return v.object(checking, shard, e, object, exists) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for name := range known {
		delete(listed, name)
	}
	for _, intent := range state.Intents {
		delete(listed, intent.Object)
	}
	return nil
}

// object checks one. The error is for what can't be told.
func (v *verification) object(ctx context.Context, shard string, e *entry, listed blob.Attributes, exists bool) error {
	if !exists { // or written since the list was made
		var err error
		if listed, err = v.cfg.Store.Attributes(ctx, e.name); err != nil {
			return v.found(shard, e, err)
		}
	}
	if listed.Bytes != e.bytes {
		return v.found(shard, e, fmt.Errorf("%w: it has %d bytes, not %d", blob.ErrDamaged, listed.Bytes, e.bytes))
	}
	if !v.sampled(e.name) {
		v.count(0, e)
		return nil
	}
	data, err := v.get(ctx, e.name, blob.Info{Bytes: e.bytes, SHA256: e.sha256})
	if err != nil {
		return v.found(shard, e, err)
	}
	meta, sums, err := countfile.Sum(ctx, bytes.NewReader(data), e.bytes)
	if err == nil {
		err = e.compare(meta, sums)
	}
	if err != nil {
		return v.found(shard, e, err)
	}
	v.count(1, e)
	return nil
}

// errWrong says that a whole object does not hold what the manifest says.
var errWrong = errors.New("it does not hold what the manifest says")

func (e *entry) compare(meta countfile.Meta, sums countfile.Summary) error {
	if meta.Resolution != e.resolution || meta.Day != e.day {
		return fmt.Errorf("%w: its rows are of %s %s, not %s %s", errWrong, meta.Resolution, timeOf(meta.Day), e.resolution, timeOf(e.day))
	}
	found := map[int]wire.ArchiveSums{}
	for _, part := range sums.Parts {
		found[part.Partition] = wire.ArchiveSums(part)
	}
	for partition, want := range e.parts {
		if got := found[partition]; got != want {
			return fmt.Errorf("%w: partition %d has %d rows and %s events, not %d and %s, or other values",
				errWrong, partition, got.Rows, got.EventCount, want.Rows, want.EventCount)
		}
	}
	return nil
}

// sampled chooses by name, so that the same objects are chosen again.
func (v *verification) sampled(name string) bool {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(name))
	return float64(hash.Sum32()) < v.check.Sample*(1<<32)
}

// found reports what an error means, and returns it if it means nothing of the object.
func (v *verification) found(shard string, e *entry, err error) error {
	kind := ""
	switch {
	case errors.Is(err, blob.ErrNotFound):
		kind = Missing
	case errors.Is(err, blob.ErrDamaged), errors.Is(err, countfile.ErrDamaged):
		kind = Damaged
	case errors.Is(err, errWrong):
		kind = Wrong
	default:
		return err
	}
	v.count(0, e)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report.Findings = append(v.report.Findings, Finding{Shard: shard, Object: e.name, Kind: kind, Detail: err.Error()})
	return nil
}

func (v *verification) count(read int, e *entry) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report.Objects++
	if read > 0 {
		v.report.Read++
		v.report.Rows += e.rows
		v.report.Bytes += e.bytes
	}
	if v.check.Progress != nil {
		v.check.Progress(v.report.Objects, v.report.Bytes)
	}
}

func (v *verification) addOrphans(left map[string]blob.Attributes) {
	for name, object := range left {
		parsed, err := countfile.ParseName(name)
		if err != nil || parsed.Day+minutesOfDay <= v.check.From || v.check.To > 0 && parsed.Day >= v.check.To {
			continue
		}
		detail := fmt.Sprintf("%d bytes of %s, in no manifest and not announced", object.Bytes, object.Modified.UTC().Format("2006-01-02T15:04:05Z"))
		v.report.Findings = append(v.report.Findings, Finding{Object: name, Kind: Orphan, Detail: detail})
	}
}
