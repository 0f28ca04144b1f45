"""What people put in stacks: one file a public class."""
