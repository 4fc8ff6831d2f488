; Inno Setup script for Windows. It has not been run yet: it takes the folder dist\Inglenook that PyInstaller is to
; make from packaging\app.spec, which comes with a later version.
; Per user, so that it asks for no administrator: the program goes below %LOCALAPPDATA%\Programs.

#define AppName "Inglenook"
#define AppVersion "0.1.0"

[Setup]
AppId={{6E0B3C0E-5E2B-4B52-9D0A-6D1E7B8C4F21}
AppName={#AppName}
AppVersion={#AppVersion}
AppPublisher=The Inglenook contributors
LicenseFile=LICENSE
DefaultDirName={localappdata}\Programs\{#AppName}
DefaultGroupName={#AppName}
DisableProgramGroupPage=yes
PrivilegesRequired=lowest
ArchitecturesAllowed=x64compatible
ArchitecturesInstallIn64BitMode=x64compatible
OutputDir=dist
OutputBaseFilename={#AppName}-{#AppVersion}-setup
Compression=lzma2
SolidCompression=yes
WizardStyle=modern
UninstallDisplayIcon={app}\inglenook.exe

[Tasks]
Name: "desktopicon"; Description: "{cm:CreateDesktopIcon}"; GroupDescription: "{cm:AdditionalIcons}"; Flags: unchecked

[Files]
Source: "dist\{#AppName}\*"; DestDir: "{app}"; Flags: recursesubdirs ignoreversion

[Icons]
Name: "{group}\{#AppName}"; Filename: "{app}\inglenook.exe"
Name: "{userdesktop}\{#AppName}"; Filename: "{app}\inglenook.exe"; Tasks: desktopicon

[Run]
Filename: "{app}\inglenook.exe"; Description: "{cm:LaunchProgram,{#AppName}}"; Flags: nowait postinstall skipifsilent

; Conversations, settings and models are the user's and stay when the program is removed.
