"""Who is who: keys made where they live, a signed roster, invitations and their answers."""
