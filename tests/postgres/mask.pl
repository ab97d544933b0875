#!/usr/bin/env perl
# Puts "V" in place of the values of each column named `version` in psql's output: without the proxy nobody bumps them.
use strict;
use warnings;
use open qw(:std :encoding(UTF-8));

my ($header, $from, $length) = ('', undef, undef);
while (my $line = <STDIN>) {
    chomp $line;
    if ($line =~ /^-+(\+-+)*$/) {
        # Columns are told by the line below their names.
        my ($at, @parts) = (0, split /\+/, $line);
        ($from, $length) = (undef, undef);
        for my $part (@parts) {
            my $name = $at < length $header ? substr $header, $at, length $part : '';
            ($from, $length) = ($at, length $part) if $name =~ /^\s*version\s*$/;
            $at += 1 + length $part;
        }
    } elsif ($line =~ /^\(\d+ rows?\)$/ || $line eq '') {
        $from = undef;
    } elsif (defined $from && $from < length $line) {
        substr($line, $from, $length) = 'V';
    } elsif ($line =~ /^version\s+\| \d+$/) {
        $line =~ s/\d+$/V/;
    }
    $header = $line;
    print "$line\n";
}
