package wire

import (
	"context"
	"net/http"
)

// Headers that say on whose behalf an internal call is made. They are believed of callers with the scope internal only, and travel on: a
// proxy passes on those of who called it.
const (
	HeaderMember = "Quipu-Member" // role and id: "reader/reader-10.0.0.5_8081"
	HeaderZone   = "Quipu-Zone"   // of that process
)

// Origin is the process on whose behalf a call is made; for whom that process asks is its caller (CallerOf). Zero values are unknown.
type Origin struct{ Member, Zone string }

// UnknownMember stands for processes that don't say who they are.
const UnknownMember = "unknown"

// maxOriginBytes bounds the texts of an origin.
const maxOriginBytes = 128

type originKey struct{}

// WithOrigin makes calls under the context be on behalf of another process.
func WithOrigin(ctx context.Context, o Origin) context.Context {
	return context.WithValue(ctx, originKey{}, o)
}

// OriginOf returns the origin of a context, and whether it has one.
func OriginOf(ctx context.Context) (Origin, bool) {
	o, ok := ctx.Value(originKey{}).(Origin)
	return o, ok
}

// OriginOfHeader reads who makes a request. What makes no sense is unknown.
func OriginOfHeader(h http.Header) Origin {
	o := Origin{Member: originText(h.Get(HeaderMember)), Zone: originText(h.Get(HeaderZone))}
	if o.Member == "" {
		o.Member = UnknownMember
	}
	return o
}

// originText refuses what would not fit into a log line or a label.
func originText(s string) string {
	if len(s) > maxOriginBytes {
		return ""
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return ""
		}
	}
	return s
}

func (o Origin) put(h http.Header) {
	if o.Member != "" {
		h[HeaderMember] = []string{o.Member}
	}
	if o.Zone != "" {
		h[HeaderZone] = []string{o.Zone}
	}
}
