package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quipudb/quipu/wire/auth"
)

func newTokenCommand() *cobra.Command {
	parent := &cobra.Command{
		Use:   "token",
		Short: "Make bearer tokens",
		Long: `Makes the bearer tokens that let callers in. Quipu's configuration holds the SHA-256 of a
token only; the token itself is shown once, when it is made.`,
		Example: `  quipu token create dashboard --scopes read`,
	}
	parent.AddCommand(newTokenCreateCommand())
	return parent
}

func newTokenCreateCommand() *cobra.Command {
	var scopes []string
	var asJSON bool
	c := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a token and the line for the configuration",
		Long: `Makes a random token and prints it, once, and the line that lets it in: add it to
auth.tokens in the configuration of the roles and start them again. Nothing is stored.

Scopes: write (send events), read (ask for counts, see metrics), admin (everything),
internal (calls between roles). The token in auth.internal_token_file may be any long random
text; one made here will do.`,
		Example: `  quipu token create dashboard --scopes read
  quipu token create app --scopes write,read --json`,
		Args: oneArgument("NAME"),
		RunE: func(c *cobra.Command, args []string) error { return createToken(c, args[0], scopes, asJSON) },
	}
	c.Flags().StringSliceVar(&scopes, "scopes", nil, "what the token allows, with commas between (needed)")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func createToken(c *cobra.Command, name string, scopes []string, asJSON bool) error {
	if len(scopes) == 0 {
		return usagef("flag --scopes is needed: some of %v", auth.Scopes())
	}
	for _, s := range scopes {
		if !slices.Contains(auth.Scopes(), auth.Scope(s)) {
			return usagef("unknown scope %q: want some of %v", s, auth.Scopes())
		}
	}
	token, hash := auth.Generate()
	out := c.OutOrStdout()
	if asJSON {
		return json.NewEncoder(out).Encode(map[string]any{"name": name, "scopes": scopes, "token": token, "sha256": hash})
	}
	_, err := fmt.Fprintf(out, "token:          %s\nin auth.tokens: {name: %s, scopes: [%s], sha256: %s}\n", token, name, strings.Join(scopes, ", "), hash)
	return err
}
