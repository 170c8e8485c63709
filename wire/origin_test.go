package wire_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/quipudb/quipu/wire"
)

func TestOriginOfHeader(t *testing.T) {
	for _, c := range []struct {
		name, caller, zone string
		want               wire.Origin
	}{
		{"both", "reader/r1", "z1", wire.Origin{Member: "reader/r1", Zone: "z1"}},
		{"none", "", "", wire.Origin{Member: wire.UnknownMember}},
		{"a space", "reader r1", "z 1", wire.Origin{Member: wire.UnknownMember}},
		{"not ASCII", "réader", "z1", wire.Origin{Member: wire.UnknownMember, Zone: "z1"}},
		{"too long", strings.Repeat("r", 129), "z1", wire.Origin{Member: wire.UnknownMember, Zone: "z1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := http.Header{}
			h.Set(wire.HeaderMember, c.caller)
			h.Set(wire.HeaderZone, c.zone)
			if got := wire.OriginOfHeader(h); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

// The origin of the context goes before that of the client.
func TestClientTellsTheOrigin(t *testing.T) {
	var got wire.Origin
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = wire.OriginOfHeader(r.Header) }))
	defer s.Close()
	own, other := wire.Origin{Member: "cluster-proxy/p1", Zone: "z1"}, wire.Origin{Member: "reader/r1"}
	c := wire.NewClient(wire.ClientConfig{Origin: func() wire.Origin { return own }})
	defer c.Close()
	if err := c.JSON(t.Context(), http.MethodGet, s.URL, nil, nil); err != nil || got != own {
		t.Errorf("got %+v, %v, want %+v", got, err, own)
	}
	if err := c.JSON(wire.WithOrigin(t.Context(), other), http.MethodGet, s.URL, nil, nil); err != nil || got != other {
		t.Errorf("got %+v, %v, want %+v", got, err, other)
	}
}
